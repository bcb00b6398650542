"""The faults of messages and results, each as a short play: what is caught, when the request is made, and what is then
delivered. ``message_cases`` has the table of what they are done to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

from atomic_commit.names import Gid
from embedded.driver import Answer
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION

from .forgery import FORGERIES, LOST, UNREADABLE, Forger
from .interception import Intercepted, Post, Tray
from .message_cases import (
    ALL_MESSAGES,
    ANY_MESSAGE,
    BRANCHES,
    BY_MESSAGE,
    BY_RECOVERY,
    OVERTAKEN,
    PAST_DEADLINE,
    REPEATED_LATE,
    Case,
)
from .scenarios import Scene

#: Seconds within which the shop must be quiet after the fault: far over the promise, so that a hang is told apart from
#: slowness, which the figures show.
QUIET_WITHIN = 60.0

_NEWEST = "SELECT id, state, attempt, deadline < clock_timestamp() AS overdue FROM transactions WHERE created_at >= %s"


class Play:
    """One case on its scene: the request under way, and the hands that the faults need."""

    def __init__(self, keeper: Shopkeeper, post: Post, forger: Forger, case: Case) -> None:
        self.keeper, self.post, self.forger, self.case = keeper, post, forger, case
        self.scene = Scene(keeper, case)
        self.scene.set()
        self.since: Any = keeper.databases.rows("orders", "SELECT clock_timestamp() AS now")[0]["now"]
        self._before = {message.transaction for message in post.seen(lambda message: True)}
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] | None = None

    def act(self) -> None:
        """Send the request, and go on once it is accepted; its answer is waited for elsewhere."""
        self._answer = self._pool.submit(self.scene.act)
        wait_until(self.rows, "the request is accepted", within=20)

    def answer(self) -> Answer:
        assert self._answer, "nothing was asked"
        return self._answer.result(60)

    def close(self) -> None:
        self.post.let_pass()
        self._pool.shutdown(wait=True)

    # ---- what is seen

    def rows(self) -> list[dict[str, Any]]:
        """The journal's row of the transaction, once it is there."""
        return self.keeper.databases.rows(self.case.coordinator, _NEWEST, self.since)

    def transaction(self) -> str:
        return str(self.rows()[0]["id"])

    def gid(self, branch: str, attempt: int = 1) -> Gid:
        kind = f"{self.case.coordinator}.{self.case.kind}"
        return Gid(INSTALLATION, kind, UUID(self.transaction()), attempt, branch)

    def messages(self) -> list[Intercepted]:
        """Every message of the transaction so far."""
        transaction = self.transaction()
        return self.post.seen(lambda message: message.transaction == transaction)

    def messages_of(self, task: str, attempt: int) -> list[Intercepted]:
        return [message for message in self.messages() if _is(message, task, attempt)]

    # ---- what is done and waited for

    def catch(self, task: str, attempt: int | None = None, limit: int | None = 1) -> Tray:
        """Catch the messages of a task of this transaction. To be said before the request is made."""
        return self.post.catch(
            lambda message: message.transaction not in self._before and _is(message, task, attempt), limit
        )

    def handled(self) -> bool:
        """Whether the workers have ended every task as often as it was delivered to them: by their own logs."""
        return all(
            self.keeper.shop.log_of(_worker_of(queue)).count(f": Task {INSTALLATION}.{task}[{task_id}] ") >= count
            for (queue, task, task_id), count in self.post.delivered(self.transaction()).items()
        )

    def wait_handled(self) -> None:
        wait_until(self.handled, "everything that was delivered is handled", QUIET_WITHIN)

    def quiet(self) -> bool:
        return not self.keeper.unfinished() and not self.keeper.databases.prepared() and self.handled()

    def wait_quiet(self) -> None:
        wait_until(self.quiet, "the shop is quiet", QUIET_WITHIN)


Fault = Callable[[Play], None]


def _worker_of(queue: str) -> str:
    """The process that reads a queue: ``orders-outcome-worker``."""
    return f"{queue.removeprefix(f'{INSTALLATION}.').replace('.', '-')}-worker"


def _is(message: Intercepted, task: str, attempt: int | None) -> bool:
    """Whether the message is one of `task`: ``users.acknowledge of products.restock`` for the answer of one branch."""
    name, _, branch = task.partition(" of ")
    return message.task == name and branch in ("", message.branch) and attempt in (None, message.attempt)


# ---- one message


def five_at_once(play: Play) -> None:
    tray = play.catch(play.case.task)
    play.act()
    play.post.deliver(play.post.first(tray), times=5)


def five_in_a_row(play: Play) -> None:
    tray = play.catch(play.case.task)
    play.act()
    message = play.post.first(tray)
    for _ in range(5):
        play.post.deliver(message)
        play.wait_handled()


def dropped(play: Play) -> None:
    tray = play.catch(play.case.task)
    play.act()
    play.post.first(tray)


def amid_repeats(play: Play) -> None:
    """Everything that came before it, then the message, then everything that came before it again."""
    tray = play.catch(play.case.task)
    play.act()
    message = play.post.first(tray)
    earlier = [one for one in play.messages() if one is not message]
    assert earlier, "nothing came before it"
    play.post.deliver(*earlier, message, *earlier)


def again_when_settled(play: Play) -> None:
    play.act()
    play.wait_quiet()
    messages = play.messages_of(play.case.task, attempt=1)
    assert messages, f"there was no {play.case.task}"
    play.post.deliver(messages[0])


def past_the_deadline(play: Play) -> None:
    """All messages of the task, of whatever attempt, are delivered after the deadline; those that the transaction can
    end without, after its end."""
    tray = play.catch(play.case.task, limit=None)
    play.act()
    play.post.first(tray)
    wait_until(lambda: play.rows()[0]["overdue"], "the deadline is over", within=30)
    if play.case.task in (*BRANCHES[play.case.kind], play.case.counting):
        play.wait_quiet()
    play.post.let_pass()
    play.post.deliver(*tray.messages)


# ---- all messages


def each_twice(play: Play) -> None:
    play.post.times = 2
    play.act()


def backwards_when_settled(play: Play) -> None:
    play.act()
    play.wait_quiet()
    play.post.deliver(*reversed(play.messages()))


# ---- two attempts


def overtaken(play: Play) -> None:
    """The message of attempt 1 is delivered when attempt 2 is prepared and about to be decided."""
    first, second = play.catch(play.case.task, attempt=1), play.catch(f"{play.case.coordinator}.decide", attempt=2)
    if play.case.task in BRANCHES[play.case.kind]:
        play.act()
        message = play.post.first(first)
    else:
        with _nobody_counts(play):
            play.act()
            message = play.post.first(first)
            for branch in BRANCHES[play.case.kind]:
                _forge(play, branch, LOST)
    decide = play.post.first(second)
    play.post.deliver(message)
    play.wait_handled()
    play.post.deliver(decide)


def repeated_late(play: Play) -> None:
    """Attempt 1 meets a lock; what was delivered of it is delivered again while attempt 2 is prepared, and after its
    end."""
    review = f"{play.case.coordinator}.review"
    second = play.catch(f"{play.case.coordinator}.decide", attempt=2)
    with play.keeper.held("products", "products", play.scene.product):
        play.act()
        wait_until(lambda: play.messages_of(review, attempt=1), "attempt 1 fails", within=20)
    decide = play.post.first(second)
    late = play.messages_of(play.case.task, attempt=1)
    assert late, f"attempt 1 had no {play.case.task}"
    play.post.deliver(*late)
    play.wait_handled()
    play.post.deliver(decide)
    play.wait_quiet()
    play.post.deliver(*late)


# ---- results


def forged_before_recovery_looks(forgery: str, play: Play) -> None:
    """The result is forged, and the message that asks to count the votes is lost."""
    tray = play.catch(play.case.counting, attempt=1)
    with _nobody_counts(play):
        play.act()
        play.post.first(tray)
        _forge(play, play.case.task, forgery)


def forged_before_the_votes_are_counted(forgery: str, play: Play) -> None:
    """The result is forged, then the votes are counted by the message that asks for it."""
    tray = play.catch(play.case.counting, attempt=1)
    with _nobody_counts(play):
        play.act()
        message = play.post.first(tray)
        _forge(play, play.case.task, forgery)
        play.post.deliver(message)


def _nobody_counts(play: Play) -> Any:
    """The coordinator's outcome worker hangs: neither it nor its sweeper can look before the result is forged."""
    return play.keeper.frozen(f"{play.case.coordinator}-outcome-worker")


def _forge(play: Play, branch: str, forgery: str) -> None:
    """Celery stores a result only after it has published the next link: the forgery waits for it."""
    gid, own = play.gid(branch), "FAILURE" if play.case.ending == "refusal" else "SUCCESS"
    wait_until(lambda: play.forger.status_of(gid) == own, f"the {own} of {gid} is stored", within=20)
    play.forger.forge(gid, forgery)


FAULTS: dict[str, Fault] = {
    **dict(zip(ANY_MESSAGE, (five_at_once, five_in_a_row, dropped, amid_repeats, again_when_settled), strict=True)),
    **dict(zip(ALL_MESSAGES, (each_twice, backwards_when_settled), strict=True)),
    OVERTAKEN: overtaken,
    REPEATED_LATE: repeated_late,
    PAST_DEADLINE: past_the_deadline,
    **{f"{one}; {BY_RECOVERY}": partial(forged_before_recovery_looks, one) for one in (*FORGERIES, LOST, UNREADABLE)},
    **{
        f"{one}; {BY_MESSAGE}": partial(forged_before_the_votes_are_counted, one)
        for one in (*FORGERIES, LOST, UNREADABLE)
    },
}
