"""What a person does to the whole application: ``python -m atomic_commit -A <module> pause | resume | restore-point``.

``pause``          every service accepts no transaction any more; what is under way settles, and is waited for.
``resume``         they accept again.
``restore-point``  one name in every server's log at which all databases fit together.

Each asks every service through its outcome worker, says of each what came of it, and undoes nothing by itself.
"""

from __future__ import annotations

import argparse
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery

from atomic_commit.cli.asking import PATIENCE, Reply, ask, services_of
from atomic_commit.cli.tables import as_table
from atomic_commit.cli.words import seconds
from atomic_commit.coordinator.restore_point import may_be_set

if TYPE_CHECKING:
    from atomic_commit.cli.verbs import Operated

# Exit codes, beside 0 (done), 1 (a database that says no) and 2 (a wrong command line).
#: Not every service has done it. What the others have done stands.
NOT_EVERYWHERE = 3
#: Paused everywhere, and not settled yet.
NOT_SETTLED = 4
#: Some servers may have the name in their logs, and it is no restore point.
NO_POINT = 5

#: Seconds that ``pause`` waits for what is under way, unless told otherwise; and between two questions.
_WAITS, _ASKS_EVERY = 60.0, 0.5
#: Characters of a reason: it is told to every client.
_LONGEST_REASON = 200
#: Seconds that all services have for a restore point: more than they wait for each other.
_POINT_WITHIN = 15.0
_POINT = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file to a command line (`verbs`: argparse's subparsers)."""
    pause = verbs.add_parser("pause", help="all services: accept no transaction, and wait until everything is settled")
    pause.add_argument("because", nargs="?", type=_reason, metavar="WHY", help="told to every client, and to who asks")
    pause.add_argument(
        "--wait",
        type=seconds,
        default=_WAITS,
        metavar="SECONDS",
        help=f"for what is under way ({_WAITS:g}); 0 does not wait",
    )
    pause.set_defaults(run=_pause)

    resume = verbs.add_parser("resume", help="all services: accept transactions again")
    resume.set_defaults(run=_resume)

    point = verbs.add_parser("restore-point", help="set a restore point at which all databases fit together")
    point.add_argument("name", type=_point, metavar="NAME", help="never used before; letters, digits, '_', '.', '-'")
    point.set_defaults(run=_restore_point)


# ---- pause and resume


def _pause(operated: Operated, arguments: argparse.Namespace) -> int:
    replies = ask(operated.celery(), operated.installation, "application.pause", {"because": arguments.because})
    if silent := _told(replies):
        print(f"paused: {_names(replies, silent) or 'none'}; {', '.join(silent)} may accept transactions still")
        print("ask again once it can answer, or resume: nothing is undone by itself")
        return NOT_EVERYWHERE
    print(f"paused: {', '.join(replies)} accept no transaction")
    return _wait_until_settled(operated, arguments.wait) if arguments.wait else 0


def _wait_until_settled(operated: Operated, seconds: float) -> int:
    end = time.monotonic() + seconds
    while True:
        within = min(PATIENCE, max(1.0, end - time.monotonic()))
        replies = ask(operated.celery(), operated.installation, "application.standing", within=within)
        if not any(reply.trouble or any(reply.said.values()) for reply in replies.values()):
            print("settled: nothing is undecided, owed or prepared anywhere")
            return 0
        if time.monotonic() >= end:
            break
        time.sleep(_ASKS_EVERY)
    print(f"NOT settled after {seconds:g} s; the application stays paused:", file=sys.stderr)
    for service, reply in replies.items():
        counts = [f"{number} {what}" for what, number in (reply.said or {}).items() if number]
        if words := reply.trouble or ", ".join(counts):
            print(f"{service}: {words}", file=sys.stderr)
    return NOT_SETTLED


def _resume(operated: Operated, arguments: argparse.Namespace) -> int:
    replies = ask(operated.celery(), operated.installation, "application.resume")
    if silent := _told(replies):
        print(f"resumed: {_names(replies, silent) or 'none'}; {', '.join(silent)} may be paused still")
        return NOT_EVERYWHERE
    print(f"resumed: {', '.join(replies)} accept transactions")
    return 0


def _told(replies: Mapping[str, Reply]) -> list[str]:
    """Say who has not done it and why. Returns them."""
    silent = [service for service, reply in replies.items() if reply.trouble]
    for service in silent:
        print(f"{service}: {replies[service].trouble}", file=sys.stderr)
    return silent


def _names(replies: Mapping[str, Reply], without: Sequence[str]) -> str:
    return ", ".join(service for service in replies if service not in without)


# ---- restore point


def _restore_point(operated: Operated, arguments: argparse.Namespace) -> int:
    celery, conversation = operated.celery(), f"{operated.installation}.restore-point.{secrets.token_hex(8)}"
    services = services_of(celery)
    said = {"name": arguments.name, "services": services, "conversation": conversation}
    replies = ask(celery, operated.installation, "application.restore_point", said, within=_POINT_WITHIN)
    if _told(replies):
        return _no_point(celery, services, conversation, arguments.name)
    longest = max(reply.said["held"] for reply in replies.values())
    print(f"restore point {arguments.name} is set everywhere; decisions were held for at most {longest * 1000:.0f} ms")
    rows = [(service, f"{reply.said['held'] * 1000:.0f} ms", reply.said["at"]) for service, reply in replies.items()]
    print(as_table(("SERVICE", "HELD", "AT"), rows))
    return 0


def _no_point(celery: Celery, services: Sequence[str], conversation: str, name: str) -> int:
    try:
        begun = may_be_set(celery, services, conversation)
    except Exception as error:  # the result backend's client raises its own kinds
        print(f"what the services said to each other can't be read: {type(error).__name__}: {error}", file=sys.stderr)
        begun = True
    if begun:
        print(f"{name} is NO restore point, and some servers may have it in their logs: try again with another NAME")
        return NO_POINT
    print("nothing was set anywhere, and decisions go on")
    return NOT_EVERYWHERE


# ---- words of the command line


def _reason(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a reason is one line of at most {_LONGEST_REASON} characters")
    return text


def _point(text: str) -> str:
    if not _POINT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: 1 to 63 of letters, digits, '_', '.' and '-'")
    return text
