"""The protocol's tables at version 5: what a service does by itself is done once for an Idempotency-Key."""

from alembic import op

from atomic_commit.journal import schema

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    schema.create_v5(op)


def downgrade() -> None:
    schema.drop_v5(op)
