"""What a service can be started as: ``python -m <service> api | worker | outcome-worker | migrate``; and what a person
on call can ask and do: ``… transactions | release | in-doubt``.

Import rule: imports no service; a role finds its service by name.
"""
