"""Words for transactions that stand in line together."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

from eager_shop import LIMITS, EagerShop
from sqlalchemy import Engine

from atomic_commit import IdempotencyKey, TransactionRecord
from atomic_commit.coordinator.attempts import Attempts
from atomic_commit.names import Gid
from atomic_commit.wire.hand_over import HandedOn


def all_removed(shop: EagerShop, customers: list[int]) -> list[TransactionRecord]:
    """Removals of them that stand in line together."""
    with shop.all_stand_in_line():
        return [shop.begin("users", "remove_user", user_id=id) for id in customers]


def all_placed(shop: EagerShop, *orders: tuple[int, dict[int, int]]) -> list[TransactionRecord]:
    """Placings of (user, product → quantity) that stand in line together."""
    with shop.all_stand_in_line():
        return [
            shop.begin(
                "orders",
                "place_order",
                user_id=user,
                lines=[{"product_id": product, "quantity": quantity} for product, quantity in lines.items()],
            )
            for user, lines in orders
        ]


def ends(shop: EagerShop, service: str, begun: list[TransactionRecord]) -> list[tuple[str, int]]:
    """(state, attempt) of each."""
    now = [shop.record(service, record.id) for record in begun]
    assert all(record.settled_at for record in now), shop.tell()
    return [(str(record.state), record.attempt) for record in now]


def attempts_of(shop: EagerShop, service: str, begun: list[TransactionRecord]) -> Counter[tuple[UUID, int]]:
    """The attempts that they were last part of, and how many of them were in each."""
    return Counter(shop.record(service, record.id).led_by for record in begun)


def reason(shop: EagerShop, service: str, record: TransactionRecord) -> Any:
    return (shop.record(service, record.id).cause or {}).get("reason")


def answer_rollbacks(shop: EagerShop) -> None:
    """What participants owe is answered, though all messages are lost."""
    owed = "SELECT task_id FROM transaction_branches WHERE outcome IS NOT NULL AND settled_at IS NULL"
    for (task_id,) in shop.query("users", owed):
        gid = Gid.parse(task_id)
        answer = shop.participant_of(gid).rollback(gid)
        shop.atomic("users").coordinator.acknowledge(gid.transaction, gid.attempt, gid.branch, answer)


def prepare_together(shop: EagerShop, service: str, begun: list[TransactionRecord]) -> HandedOn:
    """Every link but the last of the chain that they share. Returns what would be handed to ``decide``."""
    records = [shop.record(service, record.id) for record in begun]
    members = {str(record.id): record.values for record in records}
    handed_on: HandedOn = {"prepared": {}, "members": members, "dropped": {}}
    for gid in shop.gids(records[0]):
        handed_on = shop.prepare(gid, handed_on)
    return handed_on


def attempts_within(shop: EagerShop, service: str, engine: Engine | None = None, **limits: int) -> Attempts:
    """Who forms attempts at what this service coordinates, within other limits."""
    return Attempts(
        engine or shop.engines[service],
        shop.atomic(service).messages,
        replace(LIMITS, **limits),  # type: ignore[arg-type]
    )


def begin_at_once(
    shop: EagerShop, service: str, kind: str, *arguments: dict[str, Any], key: IdempotencyKey | None = None
) -> list[Any]:
    """They come while another one begins. Returns the record of each, or what it raises; all of them wait then."""
    door = shop.atomic(service).coordinator._begin[kind]
    ends: dict[int, Any] = {}

    def come(number: int) -> None:
        try:
            ends[number] = shop.atomic(service).begin(kind, arguments[number], key)
        except Exception as error:
            ends[number] = error

    comers = [threading.Thread(target=come, args=(number,)) for number in range(len(arguments))]
    with shop.all_stand_in_line():
        door._somebody_begins = True
        with door._turn:
            for number, comer in enumerate(comers, start=1):
                comer.start()
                while len(door._wait) < number:
                    assert comer.is_alive(), ends
                    time.sleep(0.001)
        for comer in comers:
            comer.join()
        door._somebody_begins = False
    return [ends[number] for number in range(len(comers))]


def removals(users: list[int]) -> list[dict[str, Any]]:
    return [{"user_id": user} for user in users]
