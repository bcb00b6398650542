"""Rows that no code of ours wrote: each is quarantined loudly, holds nobody up, and is settled once it is repaired."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import pytest
from eager_shop import LIMITS, EagerShop
from sqlalchemy.orm import Session

from atomic_commit import TransactionRecord, journal

pytestmark = pytest.mark.loud


@dataclass
class Poisoned:
    """A removal with something wrong in its rows; how a person repairs it; and how it ends then."""

    removal: TransactionRecord
    repair: Callable[[], object]
    decision: str
    after: Callable[[], bool]
    at_once: bool


@dataclass
class Scene:
    """A user with an order of four teapots, whose removal begins."""

    shop: EagerShop
    user: int
    teapot: int
    order: int

    def begin(self) -> TransactionRecord:
        return self.shop.begin("users", "remove_user", user_id=self.user)

    def begin_and_prepare(self, *, then: str) -> TransactionRecord:
        """Prepared and decided, and nobody has been told."""
        removal, coordinator = self.begin(), self.shop.atomic("users").coordinator
        handed_on = self.shop.prepare_all(removal)
        with self.shop.post.loses():
            if then == "commit":
                coordinator.decide(removal.id, 1, handed_on)
            else:
                self.shop.abort("users", removal)
        return removal

    def removed(self) -> bool:
        return self.seen() == (None, "cancelled", 10)

    def as_before(self) -> bool:
        return self.seen() == ("active", "open", 6)

    def seen(self) -> tuple[str | None, str, int]:
        shop = self.shop
        return shop.status_of_user(self.user), shop.status_of_order(self.order), shop.stock_of(self.teapot)


def an_unknown_kind(scene: Scene) -> Poisoned:
    removal = scene.begin()
    scene.shop.query("users", "UPDATE transactions SET kind = 'refund_everybody'")

    def repair() -> None:
        scene.shop.query("users", "UPDATE transactions SET kind = 'remove_user'")

    return Poisoned(removal, repair, "committed", scene.removed, at_once=False)


def values_that_nobody_can_use(scene: Scene) -> Poisoned:
    """The first branch fails with them, which is a no; and then the abort does, which may not be."""
    removal = scene.begin()
    scene.shop.query("users", """UPDATE transactions SET "values" = '{"user_id": "Ada"}'""")

    def repair() -> None:
        scene.shop.query("users", """UPDATE transactions SET "values" = CAST(:v AS json)""", v=f'{{"user_id": {user}}}')

    user = scene.user
    return Poisoned(removal, repair, "aborted", scene.as_before, at_once=False)


def branches_deleted_from_the_journal(scene: Scene) -> Poisoned:
    removal = scene.begin()
    kept = scene.shop.query("users", "SELECT attempt, name, position, task_id FROM transaction_branches")
    scene.shop.query("users", "DELETE FROM transaction_branches")

    def repair() -> None:
        for attempt, name, position, task_id in kept:
            scene.shop.query(
                "users",
                "INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id)"
                " VALUES (:id, :attempt, :name, :position, :task_id)",
                id=removal.id,
                attempt=attempt,
                name=name,
                position=position,
                task_id=task_id,
            )

    return Poisoned(removal, repair, "committed", scene.removed, at_once=True)


def a_branch_row_deleted_by_hand(scene: Scene) -> Poisoned:
    removal = scene.begin_and_prepare(then="commit")
    for gid in scene.shop.gids(removal):
        scene.shop.participant_of(gid).commit(gid)  # and the answer is lost
    scene.shop.query("orders", "DELETE FROM branch_rows")

    def repair() -> None:
        write_branch_row(scene.shop, "orders", removal, "done")

    return Poisoned(removal, repair, "committed", scene.removed, at_once=True)


def rolled_back_by_hand_and_then_committed(scene: Scene) -> Poisoned:
    removal = scene.begin_and_prepare(then="commit")
    orders, _ = scene.shop.gids(removal)
    scene.shop.query_outside("orders", f"ROLLBACK PREPARED '{orders}'")

    def repair() -> None:
        """By hand what the branch would have done, with the row that proves it."""
        scene.shop.query("orders", "UPDATE orders SET status = 'cancelled'")
        write_branch_row(scene.shop, "orders", removal, "done")

    return Poisoned(removal, repair, "committed", scene.removed, at_once=True)


def committed_by_hand_after_the_abort(scene: Scene) -> Poisoned:
    removal = scene.begin_and_prepare(then="abort")
    orders, _ = scene.shop.gids(removal)
    scene.shop.query_outside("orders", f"COMMIT PREPARED '{orders}'")

    def repair() -> None:
        """By hand the contrary of what the branch did, and a tombstone in place of the row that proves it."""
        scene.shop.query("orders", "UPDATE orders SET status = 'open'")
        scene.shop.query("orders", "UPDATE branch_rows SET kind = 'tombstone'")

    return Poisoned(removal, repair, "aborted", scene.as_before, at_once=True)


def write_branch_row(shop: EagerShop, service: str, removal: TransactionRecord, kind: str) -> None:
    [gid] = [gid for gid in shop.gids(removal) if gid.branch.startswith(service)]
    shop.query(
        service,
        "INSERT INTO branch_rows (transaction_id, attempt, branch, kind) VALUES (:id, 1, :branch, :kind)",
        id=removal.id,
        branch=gid.branch,
        kind=kind,
    )


POISONS = (
    an_unknown_kind,
    values_that_nobody_can_use,
    branches_deleted_from_the_journal,
    a_branch_row_deleted_by_hand,
    rolled_back_by_hand_and_then_committed,
    committed_by_hand_after_the_abort,
)


@pytest.fixture(params=POISONS, ids=lambda poison: poison.__name__)
def poisoned(request: pytest.FixtureRequest, shop: EagerShop, user: int, teapot: int) -> Poisoned:
    made: Poisoned = request.param(Scene(shop, user, teapot, shop.place_order(user, {teapot: 4})))
    return made


def is_quarantined(shop: EagerShop, removal: TransactionRecord) -> bool:
    return shop.transaction("users", removal.id)["state"] == "quarantined"


def sweep_until_quarantined(shop: EagerShop, removal: TransactionRecord) -> int:
    """How many sweeps it took."""
    for number in range(1, 4 * LIMITS.quarantine_after):
        shop.time_passes(8)
        shop.sweep()
        if is_quarantined(shop, removal):
            return number
    raise AssertionError(shop.tell())


def release(shop: EagerShop, transaction: UUID) -> bool:
    with Session(shop.engines["users"]) as session, session.begin():
        return journal.release(session, transaction)


def alarms(caplog: pytest.LogCaptureFixture, removal: TransactionRecord) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.CRITICAL and f"{removal.id} is QUARANTINED" in record.getMessage()
    ]


@pytest.mark.leaves("undecided", "prepared", "unbalanced")
def test_a_poisoned_transaction_holds_nobody_up_and_is_quarantined_loudly(
    shop: EagerShop, poisoned: Poisoned, caplog: pytest.LogCaptureFixture
) -> None:
    grace = shop.add_user("Grace")
    healthy = shop.begin("users", "remove_user", user_id=grace)
    sweeps = sweep_until_quarantined(shop, poisoned.removal)
    assert (sweeps < LIMITS.quarantine_after) is poisoned.at_once, f"after {sweeps} sweeps"
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    assert shop.transaction("users", healthy.id)["settled"] is True, shop.tell()
    assert shop.status_of_user(grace) is None

    seen = shop.transaction("users", poisoned.removal.id)
    assert seen["quarantined_at"] is not None, seen
    assert seen["error"], seen
    assert seen["settled"] is False, seen
    for query in ("?state=quarantined", "?settled=false"):
        assert [t["id"] for t in shop.get("users", f"/transactions{query}")] == [str(poisoned.removal.id)]
    assert len(alarms(caplog, poisoned.removal)) == 1
    shop.time_passes(3600)
    assert shop.sweep() == 0, "nobody touches it before it is released"


def test_once_it_is_repaired_and_released_it_is_settled_as_it_was_decided(shop: EagerShop, poisoned: Poisoned) -> None:
    sweep_until_quarantined(shop, poisoned.removal)
    decided = shop.transaction("users", poisoned.removal.id)["decision"]
    poisoned.repair()
    shop.sweep()
    assert is_quarantined(shop, poisoned.removal), "a person says when"
    assert release(shop, poisoned.removal.id)
    shop.recover()
    seen = shop.transaction("users", poisoned.removal.id)
    assert (seen["state"], seen["decision"], seen["settled"]) == (poisoned.decision, poisoned.decision, True), seen
    assert decided in (None, poisoned.decision), "the decision never changes"
    assert (seen["quarantined_at"], seen["error"]) == (None, None), seen
    assert poisoned.after(), shop.tell()


@pytest.mark.leaves("undecided", "prepared", "unbalanced")
def test_released_without_a_repair_it_is_quarantined_again_and_as_loudly(
    shop: EagerShop, poisoned: Poisoned, caplog: pytest.LogCaptureFixture
) -> None:
    sweep_until_quarantined(shop, poisoned.removal)
    before = shop.transaction("users", poisoned.removal.id)
    assert release(shop, poisoned.removal.id)
    sweep_until_quarantined(shop, poisoned.removal)
    after = shop.transaction("users", poisoned.removal.id)
    assert (after["decision"], after["error"]) == (before["decision"], before["error"])
    assert len(alarms(caplog, poisoned.removal)) == 2


def test_the_silence_of_a_quarantine_is_held_against_nobody(shop: EagerShop, user: int, teapot: int) -> None:
    """Its deadline went by while it waited for a person; released it is tried, and not given up."""
    poisoned = an_unknown_kind(Scene(shop, user, teapot, shop.place_order(user, {teapot: 4})))
    sweep_until_quarantined(shop, poisoned.removal)
    shop.deadline_passes()
    shop.query("users", "UPDATE transactions SET quarantined_at = quarantined_at - interval '1 day'")
    poisoned.repair()
    assert release(shop, poisoned.removal.id)
    shop.recover()
    assert shop.status_of_user(user) is None


def test_what_is_not_quarantined_is_not_released(shop: EagerShop, user: int) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    before = shop.everything()
    assert not release(shop, removal.id)
    assert not release(shop, UUID(int=1))
    assert shop.everything() == before
    shop.recover()
    assert not release(shop, removal.id)
    assert shop.transaction("users", removal.id)["settled"] is True


def test_whatever_moves_it_on_lifts_the_quarantine(shop: EagerShop, user: int) -> None:
    """An older worker quarantined a kind that a newer one knows, and the newer one gets the chain's last link."""
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    coordinator = shop.atomic("users").coordinator
    coordinator.quarantine(removal.id, "unknown here")
    assert is_quarantined(shop, removal)
    coordinator.decide(removal.id, 1, handed_on)
    seen = shop.transaction("users", removal.id)
    assert (seen["state"], seen["settled"], seen["quarantined_at"]) == ("committed", True, None), seen
