"""What a service can be started as: ``python -m <service> api | worker | outcome-worker | migrate``; and what a person
on call can ask and do: ``… transactions | release | in-doubt``.

``engine`` is the engine of atomic commits in a service, ``assembly`` its Flask app on top, ``main`` the command line,
``migrate`` and ``ownership`` what comes before a start. Import rule: imports no service; a role finds its service by
name.
"""
