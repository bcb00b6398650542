"""Processes that die, stop, fail or lose their connections at every failpoint of the protocol.

``injections`` lists what is done where, ``scenarios`` what the shop is doing meanwhile, ``judge`` what must be true
afterwards, ``sweep`` goes through all of it. ``python -m tests.crash --help``.

``failover`` is another instrument: databases that fail over to standbys, which may have forgotten something.
"""
