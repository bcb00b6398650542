"""The protocol's tables at version 3: transactions that share an attempt."""

from alembic import op

from atomic_commit.journal import schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    schema.create_v3(op)


def downgrade() -> None:
    schema.drop_v3(op)
