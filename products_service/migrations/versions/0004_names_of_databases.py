"""The protocol's tables at version 4: databases have names, and a coordinator knows those of its participants."""

from alembic import op

from atomic_commit.journal import schema

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema.create_v4(op)


def downgrade() -> None:
    schema.drop_v4(op)
