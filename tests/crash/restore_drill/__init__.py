"""Backups that fit together, proven: a shop under load is destroyed, and put back from its backups.

``backups`` takes base backups, keeps the servers' log and restores to a point by name; ``points`` sets such points in
all databases at once; ``states`` reads what a database holds of the protocol, ``losses`` tells from that what is lost
where one service came back to an earlier moment, and ``verify`` what the shop itself says of it; ``drill`` is one round
of it all, ``evidence`` what a person gets to see of what went wrong. ``python -m tests.crash.restore_drill --help``.
"""
