"""Customers at work while something is done to the containers, and the judgement afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.driver import Driver
from tests.crash.checker import check
from tests.crash.clients import Client
from tests.crash.containers import wait_quiet
from tests.crash.history import History, read
from tests.docker.compose import Project
from tests.docker.strict import StrictMarket

CLIENTS, PAUSE = 4, 0.2


@contextmanager
def customers(project: Project, path: Path) -> Iterator[StrictMarket]:
    """Some work while the block runs. Then everything settles, nothing is prepared, the rows agree with what they were
    told, no answer was improper, and none is missing. The block gets the market on which they are."""
    history = History(path)
    market, stop = StrictMarket(Driver(project.url), history), threading.Event()
    people = [Client(market, f"customer/{number}", stop, PAUSE) for number in range(CLIENTS)]
    for person in people:
        person.start()
    try:
        yield market
    finally:
        stop.set()
        for person in people:
            person.join()
    wrong = wait_quiet(project)
    history.close()
    print(f"answers: {dict(market.statuses)}, without: {len(market.unanswered)}")
    assert not wrong + check(read(history.path), project.rows)
    assert not market.improper, "\n".join(market.improper)
    assert not market.unanswered, "\n".join(market.unanswered)
    assert market.statuses[201] > 50, "there was work"
    assert market.statuses[200] > 20, "there was work"
