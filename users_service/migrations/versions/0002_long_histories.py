"""The protocol's tables at version 2: indexes for long histories."""

from alembic import op

from atomic_commit.journal import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema.create_v2(op)


def downgrade() -> None:
    schema.drop_v2(op)
