"""`demo`: a trip that is booked, one that is refused, and one that is booked although a worker is killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.trip import ledger
from examples.trip.launcher import Agency
from examples.trip.ledger import Reading
from local_servers.foreground import Foreground
from local_servers.identity import identity
from local_servers.json_http import call

PRICE = 450
SETTLED_WITHIN = 20.0
VICTIM, DIES_AT = "flights-worker", "prepare.after_prepare"
"""Who is killed, and where: money and seat are prepared then, the room is not asked for yet."""
WELL = "all three ended as they should, all sums are right, nothing is left running"
ILL = "something is wrong"
A_TRIP_OF_ADA = {
    "ada's balance": -PRICE,
    "paid": PRICE,
    "seats free": -1,
    "tickets": 1,
    "rooms free": -1,
    "stays": 1,
    "booked": 1,
}


@dataclass(frozen=True)
class Case:
    """Who asks for the trip to Lisbon, and what must come of it."""

    title: str
    account: str
    outcome: str
    changes: Mapping[str, int]
    kills: bool = False


CASES = (
    Case("A trip is booked", "ada", "booked", A_TRIP_OF_ADA),
    Case("A trip is refused, because the account is short", "bob", "refused", {"refused": 1}),
    Case(f"A trip is booked although the {VICTIM} is killed in the middle", "ada", "booked", A_TRIP_OF_ADA, kills=True),
)


def main() -> int:
    """Show it, and check it. Returns 0 only if everything is as it should be, and nothing runs any more."""
    began = time.monotonic()
    with Foreground() as terminal, TemporaryDirectory(prefix="trip-") as folder:
        failpoints = Path(folder) / "failpoints"
        failpoints.mkdir()
        print("starting PostgreSQL, Redis, the workers of four services and one HTTP door …", flush=True)
        agency = Agency(Path(folder) / "state", failpoints={VICTIM: failpoints})
        terminal.watch_over(agency)
        with agency, terminal.raised():
            print(f"up after {time.monotonic() - began:.1f} s", flush=True)
            troubles = _show_all(agency, failpoints)
            pids = {name: agency.pid(name) for name in agency.names}
        troubles += [f"{name} still runs" for name, pid in pids.items() if identity(pid) is not None]
    for trouble in troubles:
        print(f"WRONG: {trouble}")
    print(f"{ILL if troubles else WELL} ({time.monotonic() - began:.0f} s)")
    return 1 if troubles else 0


def _show_all(agency: Agency, failpoints: Path) -> list[str]:
    first = ledger.read(agency)
    troubles = []
    for number, case in enumerate(CASES, 1):
        print(f"\n{number}. {case.title}", flush=True)
        troubles += [f"case {number}: {trouble}" for trouble in _show(agency, case, first, failpoints)]
    print()
    return troubles


def _show(agency: Agency, case: Case, first: Reading, failpoints: Path) -> list[str]:
    """Let it happen, and print it. Returns what is not as it should be."""
    before, victim = ledger.read(agency), agency.pid(VICTIM)
    if case.kills:
        (failpoints / DIES_AT).write_text("kill")
    troubles = _ask(agency, case)
    if case.kills:
        troubles += _killed(agency, victim, failpoints)
    troubles += _settled(agency)
    after = ledger.read(agency)
    for line in ledger.table(before, after):
        print(f"   {line}")
    if (changes := ledger.differences(before, after)) != case.changes:
        troubles.append(f"changed: {changes}, expected: {dict(case.changes)}")
    troubles += ledger.wrong_sums(first, after)
    print(f"   outcome: {'not as it should be' if troubles else case.outcome}", flush=True)
    return troubles


def _ask(agency: Agency, case: Case) -> list[str]:
    wish = {"account": case.account, "offer": "lisbon"}
    answer = call("POST", f"{agency.url('door')}/trips", wish, patience=60.0)
    trip = answer.body
    told = trip.get("detail") or f"seat {trip.get('seat')}, room {trip.get('room')}"
    print(f"   POST /trips: {answer.status} {trip.get('state')} after {answer.seconds:.1f} s, ", end="")
    print(f"attempts: {trip.get('attempts')}. {told}\n")
    troubles = [] if trip.get("state") == case.outcome else [f"answered {answer.status} {trip}"]
    if case.kills and trip.get("attempts") == 1:
        troubles.append("the killed attempt was not given up")
    return troubles


def _killed(agency: Agency, victim: int, failpoints: Path) -> list[str]:
    """Whether the worker was killed indeed, and another one is at its place."""
    if not (failpoints / "fired" / DIES_AT).exists():
        return [f"{VICTIM} was not killed"]
    agency.wait_ready(VICTIM)
    print(f"   {VICTIM} (pid {victim}) was killed at {DIES_AT}; now it is pid {agency.pid(VICTIM)}\n")
    return [] if agency.pid(VICTIM) != victim else [f"{VICTIM} outlived its SIGKILL"]


def _settled(agency: Agency) -> list[str]:
    """Wait until no database holds anything in doubt. The answer may come a moment before the last of them."""
    end = time.monotonic() + SETTLED_WITHIN
    while left := ledger.prepared(agency):
        if time.monotonic() > end:
            return [f"{left} transactions are still prepared"]
        time.sleep(0.1)
    return []
