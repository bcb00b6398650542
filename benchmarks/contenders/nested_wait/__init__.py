"""The nested wait, as many blogs teach it: each task opens a database transaction, does its work, dispatches the next
service's task and waits for its AsyncResult with the transaction open; it commits on SUCCESS and rolls back otherwise.

It is not atomic: what kills the first service's worker between the others' commits and its own leaves half a removal.
"""
