"""The first tables: products, and the protocol's."""

from alembic import op

from atomic_commit.journal import schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema.create_v1(op)
    op.execute(
        """
        CREATE TABLE products (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL,
            price integer NOT NULL CONSTRAINT products_price CHECK (price >= 0),
            stock integer NOT NULL CONSTRAINT products_stock CHECK (stock >= 0),
            capacity integer CONSTRAINT products_capacity CHECK (capacity >= stock),
            created_at timestamptz NOT NULL DEFAULT now()
        );
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE products")
    schema.drop_v1(op)
