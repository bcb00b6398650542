"""The names of the branches that services offer to each other.

A service that starts a transaction names the other's branch by one of these; it never imports the other's code. The
service that offers a branch declares a function of that name (``tests/unit/protocol/test_branch_names.py`` compares).
"""

USERS_HOLD_ACTIVE_USER = "users.hold_active_user"
PRODUCTS_TAKE_STOCK = "products.take_stock"
PRODUCTS_RESTOCK = "products.restock"
ORDERS_CANCEL_USER_ORDERS = "orders.cancel_user_orders"
