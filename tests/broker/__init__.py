"""The whole shop with real workers on a real broker: what it promises while processes come and go.

A package, so that its files may have the names of files in other test folders. Each test speaks through a `Shopkeeper`.
"""
