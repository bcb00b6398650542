"""Every protection of the protocol, taken out in turn: a named test must miss it.

``python -m tests.mutants [WORD…]``
"""
