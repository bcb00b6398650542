"""What the restore drill believes: what survives a restore, what is lost by which rows, and what a verdict says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.crash.restore_drill.backups import archiving, recovering
from tests.crash.restore_drill.losses import Loss, differences, expected_losses, visible_losses
from tests.crash.restore_drill.points import Point
from tests.crash.restore_drill.states import State
from tests.crash.restore_drill.verify import verdict_of
from tests.crash.verify import Said

ADA, BOB = "0b9fd1d8-0000-4000-8000-00000000000a", "0b9fd1d8-0000-4000-8000-00000000000b"
HOLD, TAKE = "users.hold_active_user", "products.take_stock"
CANCEL, RESTOCK = "orders.cancel_user_orders", "products.restock"


def state(
    journal: dict[str, str] | None = None,
    *,
    told: tuple[str, ...] = (),
    done: tuple[str, ...] = (),
    prepared: tuple[str, ...] = (),
    led: tuple[str, ...] = (),
) -> State:
    """A database that knows attempt 1 of Ada's transaction: `journal` is id → state, `led` who follows her in it."""
    transactions: list[dict[str, Any]] = [
        {
            "id": id,
            "kind": "place_order",
            "state": said,
            "attempt": 1,
            "leader": ADA if id in led else None,
            "leader_attempt": 1 if id in led else None,
        }
        for id, said in (journal or {}).items()
    ]
    attempt = {"transaction_id": ADA, "attempt": 1}
    return State(
        transactions,
        [{**attempt, "name": branch} for branch in told],
        [{**attempt, "branch": branch, "kind": "done"} for branch in done],
        [f"shop.local:orders.place_order:{ADA}:1:{branch}" for branch in prepared],
    )


# ---- a participant that is older than its coordinator

REMOVED = {"users": state({ADA: "committed"}, told=(CANCEL, RESTOCK)), "orders": state(done=(CANCEL,))}


@pytest.mark.parametrize(
    ("earlier", "lost"),
    [
        (state(), True),  # it had not begun: forgotten for good
        (state(prepared=(RESTOCK,)), False),  # it will be told
        (state(done=(RESTOCK,)), False),
    ],
)
def test_a_participant_that_is_older_has_lost_what_it_had_not_prepared(earlier: State, lost: bool) -> None:
    at_point = {**REMOVED, "products": state(done=(RESTOCK,))}
    wanted = {Loss(ADA, 1, RESTOCK, "branch", "products")} if lost else set()
    assert expected_losses(at_point, earlier, "products") == wanted


def test_what_is_undecided_or_aborted_is_not_lost() -> None:
    for said in ("preparing", "aborted"):
        at_point = {"users": state({ADA: said}, told=(CANCEL, RESTOCK)), "orders": state(), "products": state()}
        assert not expected_losses(at_point, state(), "products")


def test_a_hold_is_not_lost() -> None:
    orders = state({ADA: "committed"}, told=(HOLD, TAKE))
    at_point = {"users": state(done=(HOLD,)), "products": state(done=(TAKE,)), "orders": orders}
    assert not expected_losses(at_point, state(), "users")


# ---- a coordinator that is older than its participants

PLACED = state({ADA: "committed", BOB: "committed"}, told=(HOLD, TAKE), led=(BOB,))


def lost_when_orders_had(earlier: State, **at_point: State) -> set[Loss]:
    return expected_losses({"orders": PLACED, "users": state(), "products": state(), **at_point}, earlier, "orders")


def test_a_coordinator_that_is_older_has_lost_what_others_have_done_and_it_does_not_know() -> None:
    (loss,) = lost_when_orders_had(state(), users=state(done=(HOLD,)), products=state(done=(TAKE,)))
    assert loss == Loss(ADA, 1, TAKE, "transaction", "orders")
    assert loss.members == {ADA, BOB}


def test_what_is_done_proves_the_decision_for_who_is_known() -> None:
    known = state({ADA: "preparing", BOB: "preparing"})
    assert not lost_when_orders_had(known, products=state(done=(TAKE,)))
    (loss,) = lost_when_orders_had(state({ADA: "preparing"}), products=state(done=(TAKE,)))
    assert loss.members == {BOB}


def test_what_nobody_has_done_is_as_if_it_had_never_been() -> None:
    prepared = {"users": state(prepared=(HOLD,)), "products": state(prepared=(TAKE,))}
    assert not lost_when_orders_had(state(), **prepared)
    assert lost_when_orders_had(state(), **{**prepared, "users": state(done=(HOLD,))}), "the hold proves the decision"


# ---- what the rows show afterwards


def test_halves_without_their_other_half_show() -> None:
    orders = state({ADA: "committed"}, told=(HOLD, TAKE))
    assert visible_losses({"orders": orders, "products": state(), "users": state()}, "products") == {
        Loss(ADA, 1, TAKE, "branch", "products")
    }
    assert visible_losses({"orders": state(), "products": state(done=(TAKE,)), "users": state()}, "orders") == {
        Loss(ADA, 1, TAKE, "transaction", "orders")
    }


@pytest.mark.parametrize("products", [state(done=(TAKE,)), state(prepared=(TAKE,))])
def test_what_is_done_or_in_doubt_is_not_lost(products: State) -> None:
    orders = state({ADA: "committed"}, told=(HOLD, TAKE))
    assert not visible_losses({"orders": orders, "products": products, "users": state()}, "products")


# ---- expected and named

LOST = Loss(ADA, 1, TAKE, "branch", "products", frozenset({ADA, BOB}))
FOR_ADA_ALONE = Loss(ADA, 1, TAKE, "branch", "products", frozenset({ADA}))
OTHER = Loss(BOB, 2, RESTOCK, "transaction", "users")


def test_what_is_named_as_expected_is_right() -> None:
    assert not differences({LOST, OTHER}, {OTHER, LOST}, "verify")
    assert not differences(set(), set(), "verify")


def test_what_is_missing_too_much_or_for_others_is_said() -> None:
    (missing,) = differences({LOST}, set(), "verify")
    what = f"products has lost the branch: {TAKE} of {ADA}, attempt 1, of {ADA}, {BOB}"
    assert missing == f"verify does not say that {what}"
    (too_much,) = differences(set(), {OTHER}, "verify")
    assert too_much.startswith("verify says, and it is not so, that users has lost the transaction")
    (members,) = differences({LOST}, {FOR_ADA_ALONE}, "verify")
    assert members.startswith(f"verify says that it concerns {ADA}, and it concerns {ADA}, {BOB}")


def test_a_verdict_is_what_all_services_have_named_and_what_they_did_wrong() -> None:
    of_ada = {
        "transaction": ADA,
        "kind": "orders.place_order",
        "attempt": 1,
        "branch": TAKE,
        "lost": "branch",
        "service": "products",
        "values": {ADA: {"lines": []}},
    }
    said = Said([of_ada], ["verify of users: somebody did not answer"], ["orders knows no verb verify"])
    verdict = verdict_of(said)
    assert verdict.losses == {LOST}
    assert [loss.members for loss in verdict.losses] == [{ADA}]
    assert verdict.wrong == ("verify of users: somebody did not answer", "orders knows no verb verify")


# ---- a restore point, and what was asked around it


def test_what_was_answered_before_the_point_survives_and_what_was_asked_after_it_does_not() -> None:
    before = {"began": 1.0, "ended": 2.0, "status": 201}
    across = {"began": 9.0, "ended": 10.5, "status": 200, "transaction": ADA}
    meanwhile = {"began": 10.1, "ended": 10.2, "status": 200}
    after = {"began": 11.5, "ended": 12.0, "status": 201}
    survived = Point("now", 10.0, 11.0, 3.0).surviving([before, across, meanwhile, after])
    assert survived == [before, {**across, "status": None}, {**meanwhile, "status": None}]


# ---- settings of PostgreSQL


def run(command: str, **names: str) -> int:
    """As PostgreSQL runs it: what stands for a name is put in, and a doubled per cent sign is one."""
    for name, value in names.items():
        command = command.replace(f"%{name}", value)
    return subprocess.run(["sh", "-c", command.replace("%%", "%")]).returncode


def test_a_log_file_is_archived_once_and_found_again(tmp_path: Path) -> None:
    archive = tmp_path / "it's 100% safe"
    archive.mkdir()
    written, again = tmp_path / "written", tmp_path / "again"
    written.write_text("log")
    keep = archiving(archive)["archive_command"]
    assert run(keep, p=str(written), f="0001") == 0
    assert [file.name for file in archive.iterdir()] == ["0001"]
    written.write_text("another log")
    assert run(keep, p=str(written), f="0001") != 0, "an archived file was written over"
    assert run(recovering(archive, "point")["restore_command"], p=str(again), f="0001") == 0
    assert again.read_text() == "log"
    assert run(recovering(archive, "point")["restore_command"], p=str(again), f="0002") != 0


def test_a_server_recovers_to_the_point_by_name_and_goes_on_from_there(tmp_path: Path) -> None:
    settings = recovering(tmp_path, "drill-1")
    assert settings["recovery_target_name"] == "drill-1"
    assert settings["recovery_target_action"] == "promote"
    assert settings["archive_mode"] == "off"
