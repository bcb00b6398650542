"""What a service can be started as: ``python -m <service> api | worker | outcome-worker | migrate``.

Import rule: imports no service; a role finds its service by name.
"""
