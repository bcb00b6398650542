"""The whole shop with real workers on a real broker: what it promises while processes come and go.

A package, so that its files may be called as files of other test folders are. Each test speaks through one `Shopkeeper`.
"""
