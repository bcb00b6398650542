"""The first tables: orders with their lines, and the protocol's."""

from alembic import op

from atomic_commit import migrations

#: The four before it are part of it: nothing older was ever released.
revision = "0005"
down_revision = None


def upgrade() -> None:
    migrations.upgrade(op.get_bind(), 1)
    op.execute(
        """
        CREATE TABLE orders (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            user_id integer NOT NULL,
            status text NOT NULL DEFAULT 'open'
                CONSTRAINT orders_status_known CHECK (status IN ('open', 'cancelling', 'fulfilled', 'cancelled')),
            cancelled_by uuid,
            created_at timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX orders_user ON orders (user_id, id);
        CREATE INDEX orders_status ON orders (status, id);
        CREATE TABLE order_lines (
            order_id integer NOT NULL REFERENCES orders (id),
            position integer NOT NULL,
            product_id integer NOT NULL,
            quantity integer NOT NULL CONSTRAINT order_lines_quantity CHECK (quantity > 0),
            unit_price integer NOT NULL CONSTRAINT order_lines_unit_price CHECK (unit_price >= 0),
            PRIMARY KEY (order_id, position)
        );
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE order_lines, orders")
    migrations.downgrade(op.get_bind(), 0)
