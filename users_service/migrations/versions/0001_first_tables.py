"""The first tables: users, and the protocol's."""

from alembic import op

from atomic_commit.journal import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.create_v1(op)
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
    schema.drop_v1(op)
