"""The whole shop with real workers on a real broker: what it promises while processes come and go.

A package, so that other folders import its helpers as `tests.broker.…`. Each test speaks through a `Shopkeeper`.
"""
