"""The service that a request reaches: begin, dispatch, decide, recover, and how a request waits.

Knows nothing of participants but what travels between them (``wire``).
"""
