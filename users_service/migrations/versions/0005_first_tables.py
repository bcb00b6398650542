"""The first tables: users, and the protocol's."""

from alembic import op

from atomic_commit import migrations

#: The four before it are part of it: nothing older was ever released.
revision = "0005"
down_revision = None


def upgrade() -> None:
    migrations.upgrade(op.get_bind(), 1)
    op.execute(
        """
        CREATE TABLE users (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL,
            email text NOT NULL,
            status text NOT NULL DEFAULT 'active' CONSTRAINT users_status CHECK (status IN ('active', 'removing')),
            removed_by uuid,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE UNIQUE INDEX users_email ON users (lower(email));
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE users")
    migrations.downgrade(op.get_bind(), 0)
