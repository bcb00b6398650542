"""What the four databases say, as a few numbers, and what must be true of them at any time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from atomic_commit import create_engine
from examples.trip.launcher import Agency

Reading = Mapping[str, int]
"""What is counted → the number."""

COUNTED = {
    "bank": {
        "ada's balance": "SELECT balance FROM accounts WHERE name = 'ada'",
        "bob's balance": "SELECT balance FROM accounts WHERE name = 'bob'",
        "paid": "SELECT coalesce(sum(amount), 0) FROM payments",
    },
    "flights": {
        "seats free": "SELECT sum(seats - sold) FROM flights",
        "tickets": "SELECT count(*) FROM tickets",
    },
    "hotels": {
        "rooms free": "SELECT sum(rooms - taken) FROM nights",
        "stays": "SELECT count(*) FROM stays",
    },
    "trips": {
        "booking": "SELECT count(*) FROM trips WHERE state = 'booking'",
        "booked": "SELECT count(*) FROM trips WHERE state = 'booked'",
        "refused": "SELECT count(*) FROM trips WHERE state = 'refused'",
    },
}
SUMS = (("ada's balance", "bob's balance", "paid"), ("seats free", "tickets"), ("rooms free", "stays"))
"""Each of them stays the same, whatever is booked."""
BOOKED_ALIKE = ("tickets", "stays")
"""One for each trip that is booked."""


def read(agency: Agency) -> Reading:
    """All numbers, one database after the other: nobody may be booking meanwhile."""
    return {
        what: number
        for service, queries in COUNTED.items()
        for what, number in _numbers(agency.database_url(service), queries)
    }


def prepared(agency: Agency) -> int:
    """Transactions that are prepared in any of the databases, and not told their outcome yet."""
    query = {"prepared": "SELECT count(*) FROM pg_prepared_xacts"}
    return sum(number for _, number in _numbers(agency.admin_url("postgres"), query))


def _numbers(url: str, queries: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    engine = create_engine(url, pool_size=1)
    try:
        with engine.connect() as connection:
            yield from [(what, int(connection.execute(sa.text(query)).scalar_one())) for what, query in queries.items()]
    finally:
        engine.dispose()


def wrong_sums(first: Reading, now: Reading) -> list[str]:
    """What has come from nowhere or gone to nowhere since the first reading."""
    wrong = [
        f"{' + '.join(parts)} is {_sum(now, parts)}, and was {_sum(first, parts)}"
        for parts in SUMS
        if _sum(now, parts) != _sum(first, parts)
    ]
    booked = now["booked"]
    wrong += [f"{booked} trips are booked, with {now[what]} {what}" for what in BOOKED_ALIKE if now[what] != booked]
    return wrong


def differences(before: Reading, after: Reading) -> dict[str, int]:
    """What has changed, and by how much."""
    return {what: after[what] - before[what] for what in before if after[what] != before[what]}


def table(before: Reading, after: Reading) -> Iterator[str]:
    """Both readings beside each other, a line for each number."""
    yield f"{'service':<8} {'what':<14} {'before':>6} {'after':>6}"
    for service, queries in COUNTED.items():
        for what in queries:
            yield f"{service:<8} {what:<14} {before[what]:>6} {after[what]:>6}"


def _sum(reading: Reading, parts: tuple[str, ...]) -> int:
    return sum(reading[part] for part in parts)
