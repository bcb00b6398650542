"""What happens in the demo, and what must come of it.

Four customers. Ada is removed and all goes well. Grace's removal is refused at its last step, by a full warehouse.
Alan's removal loses a worker in its middle. Katherine only watches: nothing of hers may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from embedded.demo import checks, tables
from embedded.demo.checks import Check
from embedded.demo.errors import DemoFailed
from embedded.demo.facts import Event, Task, Transaction
from embedded.demo.screen import Screen
from embedded.demo.view import View, as_problem, wait_for
from embedded.driver import ASYNC, PATIENT, Driver
from embedded.shop import Shop
from local_servers.errors import LocalServersError

ADA, GRACE, ALAN, KATHERINE = "Ada", "Grace", "Alan", "Katherine"
TEA, POT, CUP = "Tea", "Pot", "Cup"
STOCK = {TEA: 40, POT: 10, CUP: 60}
CAPACITY = {TEA: None, POT: 10, CUP: 100}
WORKER = "orders-worker"
SETTLES_WITHIN = 15.0
"""Without a crash. With one, silence is waited out first."""
RECOVERS_WITHIN = 45.0


class Story:
    """The chapters, in their order. Each shows what happened and notes what it promises in `checks`."""

    def __init__(self, shop: Shop, screen: Screen) -> None:
        self._shop, self._screen = shop, screen
        self._driver, self.view = Driver(shop.url), View(shop)
        self._users: dict[str, int] = {}
        self._products: dict[str, int] = {}
        self._put_in: dict[int, int] = {}
        self._removed: dict[int, str] = {}
        self.checks: list[Check] = []

    def tell(self) -> bool:
        """All of it. Returns whether every promise was kept; raises DemoFailed when the story cannot go on."""
        self.open_the_shop()
        self.remove_a_user()
        self.refuse_a_removal()
        self.lose_a_worker()
        return self.hold_to_account()

    # a. Before

    def open_the_shop(self) -> None:
        self._screen.chapter(
            "1 · The shop", "Four users, three products, ten orders. The warehouse has little room for Pots."
        )
        with self._screen.working("adding users and products, placing orders"):
            for name in (ADA, GRACE, ALAN, KATHERINE):
                self._users[name] = self._driver.add_user(name)
            for name, stock in STOCK.items():
                self._products[name] = self._driver.add_product(name, stock=stock, capacity=CAPACITY[name])
                self._put_in[self._products[name]] = stock
            fulfilled = self._order(ADA, {TEA: 2})
            self._driver.fulfil_order(fulfilled).expect(200)
            for who, what in (
                (ADA, {TEA: 3}),
                (ADA, {TEA: 1, CUP: 4}),
                (ADA, {POT: 2}),
                (GRACE, {TEA: 5}),
                (GRACE, {TEA: 2, POT: 4}),
                (ALAN, {TEA: 4}),
                (ALAN, {CUP: 6}),
                (ALAN, {TEA: 1, CUP: 1}),
                (KATHERINE, {CUP: 2}),
            ):
                self._order(who, what)
            now = self.view.snapshot()
        self._screen.show(tables.state(now, now, self._names))

    # b. A removal

    def remove_a_user(self) -> None:
        self._screen.chapter(
            "2 · Ada is removed",
            "Three open orders are cancelled, their goods go back in stock, the user's row is deleted:\n"
            "three databases, one decision. Her fulfilled order stays as history.",
        )
        before = self.view.snapshot()
        with self._screen.working("DELETE /users/1"):
            answer = self._driver.remove_user(self._users[ADA], **PATIENT).expect(200)
            transaction = self.view.settled(answer.transaction, SETTLES_WITHIN)
            tasks = {transaction.attempt: self.view.chain(transaction, transaction.attempt)}
        self._removed[self._users[ADA]] = ADA
        self._show(transaction, tasks, answer.seconds)
        self._screen.show(tables.state(before, self.view.snapshot(), self._names))
        self.checks.append(checks.committed(ADA, transaction, tasks[transaction.attempt]))

    # c. A refusal

    def refuse_a_removal(self) -> None:
        pot = self._products[POT]
        now = self.view.snapshot().products[pot]
        delivery = CAPACITY[POT] - now.stock - 1  # type: ignore[operator]  # the Pot has a capacity
        self._screen.chapter(
            "3 · Grace's removal is refused",
            f"A delivery of {delivery} Pots has filled the warehouse but for one place. Grace's 4 do not fit back: "
            "orders\nhas already said yes to the removal when products says no.",
        )
        self._driver.change_stock(pot, delivery).expect(200)
        self._put_in[pot] += delivery
        before, rows_before = self.view.snapshot(), self.view.rows()
        with self._screen.working("DELETE /users/2"):
            answer = self._driver.remove_user(self._users[GRACE], **PATIENT).expect(409)
            transaction = self.view.settled(answer.transaction, SETTLES_WITHIN)
            tasks = {transaction.attempt: self.view.chain(transaction, transaction.attempt)}
        differences = checks.differences(rows_before, self.view.rows())
        self._screen.show(tables.problem(as_problem(answer.body)))
        self._show(transaction, tasks, answer.seconds)
        self._screen.show(tables.state(before, self.view.snapshot(), self._names))
        self._screen.show(
            f"(A change would show an arrow.) Compared row by row, before and after: {', '.join(rows_before)}: "
            f"{'; '.join(differences) or 'nothing changed'}."
        )
        self.checks.append(checks.refused(GRACE, answer.status, answer.body, transaction))
        self.checks.append(checks.unchanged(GRACE, differences))

    # d. A crash

    def lose_a_worker(self) -> None:
        self._screen.chapter(
            "4 · Alan's removal loses a worker",
            "One of his order rows is locked by somebody else, so that the branch in orders stands still in the\n"
            "middle of its database transaction. There its worker is killed with kill -9.",
        )
        before, order = self.view.snapshot(), self._middle_order(ALAN)
        events: list[Event] = []
        with self._screen.working(f"removal, kill -9 of {WORKER}, recovery (some 6 s)"):
            transaction = self._removal_with_a_kill(order, events)
            tasks = {
                attempt: self.view.chain(transaction, attempt, patience=2.0 if attempt == transaction.attempt else 0)
                for attempt in range(1, transaction.attempt + 1)
            }
        self._removed[self._users[ALAN]] = ALAN
        self._screen.show(tables.timeline([*events, *_journalled(transaction)], transaction.created_at))
        self._show(transaction, tasks, None)
        self._screen.show(tables.state(before, self.view.snapshot(), self._names))
        self.checks.append(checks.outlived(ALAN, transaction))
        self.checks.append(checks.committed(ALAN, transaction, tasks[transaction.attempt]))

    def _removal_with_a_kill(self, order: int, events: list[Event]) -> Transaction:
        def note(what: str, seen_in: str) -> None:
            events.append(Event(datetime.now(UTC), what, seen_in))

        with self.view.locked_order(order) as holder:
            accepted = self._driver.remove_user(self._users[ALAN], **ASYNC).expect(202)
            note("DELETE is answered 202: accepted", "the answer")
            pid, what = wait_for(lambda: self.view.waiting_for(holder), 10.0, "the branch at the locked row", "orders")
            note(f"the branch in orders waits for order {order}'s row: {what}, session {pid}", "pg_stat_activity")
            killed = self._shop.pid(WORKER)
            self._shop.kill(WORKER)
            note(f"kill -9 of {WORKER}, pid {killed}", "the demo")
        note(f"order {order}'s row is unlocked", "the demo")
        again = wait_for(lambda: self._pid_other_than(killed), RECOVERS_WITHIN, f"a new {WORKER}", "orders")
        note(f"{WORKER} is started again, pid {again}", "the launcher")
        self._shop.wait_ready(WORKER, RECOVERS_WITHIN)
        note(f"{WORKER} takes tasks again", "its log")
        return self.view.settled(accepted.transaction, RECOVERS_WITHIN)

    def _pid_other_than(self, old: int) -> int | None:
        try:
            pid = self._shop.pid(WORKER)
        except LocalServersError:  # between two runs
            return None
        return pid if pid != old else None

    # e. The account

    def hold_to_account(self) -> bool:
        self._screen.chapter("5 · What was promised", "Compared with what the databases and the APIs say now.")
        with self._screen.working("comparing"):
            with suppress(DemoFailed):  # the check below says which
                wait_for(self._nothing_unfinished, SETTLES_WITHIN, "the last settlement")
            now = self.view.snapshot()
            self.checks += [
                *checks.conserved(now, self._put_in),
                checks.nothing_prepared(self.view.prepared()),
                checks.all_settled(self.view.unfinished()),
                checks.no_open_orders(now, self._removed),
                checks.gone(now, self.view.user_ids(), self._removed),
            ]
        self._screen.show(tables.verdict(self.checks))
        return all(check.kept for check in self.checks)

    def _nothing_unfinished(self) -> bool | None:
        return None if any(self.view.unfinished().values()) else True

    # What the chapters share

    @property
    def _names(self) -> dict[int, str]:
        """Of all users there ever were, by id."""
        return {id: name for name, id in self._users.items()}

    def _show(self, transaction: Transaction, tasks: Mapping[int, list[Task]], seconds: float | None) -> None:
        for attempt, links in tasks.items():
            self._screen.show(tables.chain(attempt, links))
        self._screen.show(tables.votes(transaction, tasks))
        self._screen.show(tables.decision(transaction, seconds))

    def _order(self, who: str, what: Mapping[str, int]) -> int:
        quantities = {self._products[name]: number for name, number in what.items()}
        return self._driver.placed_order(self._users[who], quantities)

    def _middle_order(self, who: str) -> int:
        """Not the first: the branch has locked one of the rows already when it meets the locked one."""
        return self.view.snapshot().orders_of(self._users[who], "open")[1]


def _journalled(transaction: Transaction) -> list[Event]:
    """What the coordinator's journal says happened, and when."""
    events = [Event(transaction.created_at, "the removal is accepted: Alan is `removing`", "the journal")]
    for attempt in range(1, transaction.attempt + 1):
        branches = transaction.of_attempt(attempt)
        given_up = [b.decided_at for b in branches if b.outcome == "rollback" and b.decided_at]
        answered = [b.settled_at for b in branches if b.settled_at]
        votes = ", ".join(f"{b.vote or 'silent'}" for b in branches)
        if branches:
            events.append(Event(branches[0].dispatched_at, f"attempt {attempt} is sent", "the journal"))
        if given_up:
            events.append(Event(min(given_up), f"attempt {attempt} is given up (votes: {votes})", "the journal"))
        if given_up and answered:
            done = f"attempt {attempt} is rolled back and fenced in every service"
            events.append(Event(max(answered), done, "the journal"))
    if transaction.decided_at:
        words = f"attempt {transaction.attempt} is {transaction.state}: the commit point"
        events.append(Event(transaction.decided_at, words, "the journal"))
    if transaction.settled_at:
        events.append(Event(transaction.settled_at, "every service has answered: settled", "the journal"))
    return events
