"""What a service needs to know where a database has come back older than it was."""

from alembic import op

from atomic_commit import migrations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    migrations.upgrade(op.get_bind(), 2)


def downgrade() -> None:
    migrations.downgrade(op.get_bind(), 1)
