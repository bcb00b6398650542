"""The command line: `python -m examples.trip up | demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.trip import demo
from examples.trip.launcher import Agency, Ports
from local_servers.errors import Interrupted, LocalServersError
from local_servers.foreground import AskedToStop, Foreground
from local_servers.settings import state_folder

INTERRUPTED = 130
TRY = """the agency is up; to book a trip:

  curl -i {door}/trips --json '{{"account": "ada", "offer": "lisbon"}}'

logs in {logs}; Ctrl-C stops it"""


def main(words: Sequence[str]) -> int:
    """Returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.trip", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up | demo")
    verbs.add_parser("up", help="run the agency until Ctrl-C; EMBEDDED_STATE is the folder for its data, here .trip")
    verbs.add_parser("demo", help="show three trips, check the sums, leave nothing behind")
    verb = parser.parse_args(words).verb
    try:
        return demo.main() if verb == "demo" else up()
    except (Interrupted, AskedToStop):
        return INTERRUPTED
    except LocalServersError as error:
        print(f"examples.trip: {error}", file=sys.stderr)
        return error.exit_code


def up() -> int:
    """Run the agency here until Ctrl-C."""
    with Foreground() as terminal:
        print("starting …", flush=True)
        agency = Agency(state_folder(os.environ, Path(".trip")), ports=Ports.from_environment(os.environ))
        terminal.watch_over(agency)
        with agency:
            print(TRY.format(door=agency.url("door"), logs=agency.state / "logs"), flush=True)
            terminal.wait()
            print("stopping …", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
