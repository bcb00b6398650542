"""`demo`: the whole shop in a folder of its own, shown at work, and gone again.

`story` says what happens and what must come of it, `checks` are the promises (pure), `view` looks at the shop from
outside (APIs, databases, result backend), `tables` and `screen` show it, `facts` are the values passed between them.
"""

from embedded.demo.run import main

__all__ = ["main"]
