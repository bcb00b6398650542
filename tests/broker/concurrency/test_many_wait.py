"""More clients wait for their decisions than a server has threads, and everybody else is served all the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from embedded.driver import Answer
from http_api.admission import served_at_once, threads
from tests.broker.shopkeeper import OUTCOME_WORKERS, Shopkeeper
from tests.broker.waiting import wait_until

CLIENTS = threads() + 4
#: Seconds that a reader waits at most.
AT_ONCE = 1.0


def test_readers_and_health_are_answered_while_more_clients_wait_than_there_are_threads(shop: Shopkeeper) -> None:
    with ThreadPoolExecutor(16) as pool:
        people = list(pool.map(lambda n: shop.add_user(f"Client{n}"), range(CLIENTS)))
    bystander = shop.add_user("Bystander")
    with shop.down(*OUTCOME_WORKERS), ThreadPoolExecutor(CLIENTS) as pool:
        removals = [pool.submit(accepted, shop, person) for person in people]
        wait_until(lambda: len(shop.unfinished()) == CLIENTS, "all of them are accepted", every=0.1)
        slowest = {
            path: slowest_of(lambda p=path: shop.read("users", p))
            for path in ("/livez", "/readyz", f"/users/{bystander}")
        }
        answers = [removal.result() for removal in removals]
    assert max(slowest.values()) < AT_ONCE, slowest
    counts = Counter((answer.status, "Preference-Applied" in answer.headers) for answer in answers)
    assert {status for status, _ in counts} == {202}, counts
    assert counts[202, True] == served_at_once() // 2, f"who waited was told so: {counts}"
    assert all(answer.headers["Location"] == f"/transactions/{answer.transaction}" for answer in answers)
    assert {shop.settled(answer, within=60) for answer in answers} == {"committed"}


def accepted(shop: Shopkeeper, person: int) -> Answer:
    """The answer to a client who waits, and who comes again when told to."""
    while (answer := shop.remove_user(person, Prefer="wait=12")).status == 503:
        time.sleep(float(answer.headers["Retry-After"]))
    return answer


def slowest_of(ask: Callable[[], object]) -> float:
    """Seconds of the slowest of several answers."""
    seconds = []
    for _ in range(10):
        began = time.monotonic()
        ask()
        seconds.append(time.monotonic() - began)
    return max(seconds)
