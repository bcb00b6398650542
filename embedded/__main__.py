"""The command line: `python -m embedded up | demo | status | env | down`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedded.status import ShopStatus

DESCRIPTION = """The whole shop on this machine, without Docker: PostgreSQL, Valkey, the services, Flower.

  up      run it in this terminal, until Ctrl-C
  demo    show it at work
  status  what runs, where, and the databases' addresses (exit code 3 when nothing runs)
  env     a service's variables for a terminal of your own: eval "$(python -m embedded env orders)"
  down    stop it from another terminal, or what a killed launcher left
"""
EPILOG = """Settings, from the environment:
  {ports}, FLOWER_PORT, POSTGRES_PORT, REDIS_PORT   0 picks a free one
  EMBEDDED_STATE                                 the folder for all data, here .embedded
  POSTGRES_MAX_CONNECTIONS, POSTGRES_MAX_PREPARED_TRANSACTIONS
  SHOP_PG_BIN (a folder), SHOP_REDIS_SERVER      servers of your own
"""
WINDOWS = "Windows has no Redis-protocol server for this: use WSL2, or Docker (compose.yaml)."

ANOTHER_USER = "make it yours, or choose another state folder with EMBEDDED_STATE=…"
NOT_RUNNING = 3


def main(argv: list[str]) -> int:
    """Do what the command line says. Returns the exit code; prints every foreseen failure as plain lines."""
    if sys.platform == "win32":
        print(WINDOWS, file=sys.stderr)
        return 2
    from local_servers.errors import LocalServersError  # not before the check above

    try:
        return _run(argv)
    except LocalServersError as error:
        print(f"embedded: {error}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"embedded: {error.filename} belongs to another user: {ANOTHER_USER}", file=sys.stderr)
        return 2


def _run(argv: list[str]) -> int:
    if argv[:1] == ["demo"]:
        code: int = import_module("embedded.demo").main(argv[1:])
        return code
    asked = _parser().parse_args(argv)
    if asked.command == "up":
        from embedded.up import up

        return up()
    if asked.command == "down":
        from embedded.down import down

        return down(os.environ)
    return _env(asked.service) if asked.command == "env" else _status(as_json=asked.json)


def _env(service: str) -> int:
    if not (found := _running()):
        return NOT_RUNNING
    for name, value in found.variables(service).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _status(*, as_json: bool) -> int:
    from local_servers.readiness import readiness
    from local_servers.status import as_json as for_programs
    from local_servers.status import as_table

    if not (found := _running()):
        if as_json:
            print(for_programs(None))
        return NOT_RUNNING
    ready = readiness(found.apis)
    print(for_programs(found, ready) if as_json else as_table(found, ready))
    return 0


def _running() -> ShopStatus | None:
    """The shop that runs in the state folder; None, and words on stderr, where there is none."""
    from embedded.settings import state_folder
    from embedded.status import read_status

    state = state_folder(os.environ)
    found = read_status(state)
    if found and found.launcher.runs:
        return found
    print(f"embedded: no shop runs in {state}.", file=sys.stderr)
    if found and found.leftovers:
        left = f"what a killed launcher left still runs (processes: {len(found.leftovers)})"
        print(f"embedded: {left}: `make down` ends it.", file=sys.stderr)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m embedded",
        description=DESCRIPTION,
        epilog=EPILOG.format(ports=_ports_of_services()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="up | demo | status | env | down")
    commands.add_parser("up", help="run the shop until Ctrl-C")
    commands.add_parser("demo", help="show it at work")
    commands.add_parser("down", help="stop it")
    status = commands.add_parser("status", help="what runs")
    status.add_argument("--json", action="store_true", help="for programs")
    env = commands.add_parser("env", help="a service's variables, for a terminal of your own")
    env.add_argument("service", choices=_services())
    return parser


def _ports_of_services() -> str:
    return ", ".join(f"{service.upper()}_PORT" for service in _services())


def _services() -> tuple[str, ...]:
    from celery_config.manifest import SERVICES  # not before Windows was sent away

    return tuple(SERVICES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
