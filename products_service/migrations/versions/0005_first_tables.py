"""The first tables: products, and the protocol's."""

from alembic import op

from atomic_commit import migrations

#: The four before it are part of it: nothing older was ever released.
revision = "0005"
down_revision = None


def upgrade() -> None:
    migrations.upgrade(op.get_bind(), 1)
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
    migrations.downgrade(op.get_bind(), 0)
