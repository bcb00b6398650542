"""Branches that a participant has lost are run there again, with the values that this service's journal has kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.errors import NoAnswer
from atomic_commit.journal import losses
from atomic_commit.journal.losses import Loss
from atomic_commit.names import Gid
from atomic_commit.wire.comparing import read_redone

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit

#: Seconds for one branch, which may wait for locks and behind others in its queue.
WITHIN = 30.0


class Redo:
    """What the coordinator's side does to make a loss good."""

    def __init__(self, atomic: AtomicCommit) -> None:
        self._atomic = atomic

    def run(self, loss: Loss, *, sure: bool) -> list[str]:
        """Have the participant run the lost branch again, for the transactions that have lost it, in one local
        transaction with its branch row; then the loss is closed. Returns those for which it was run: fewer, or none,
        where an earlier call had done so.

        `sure`: a person has looked at a branch that is not declared as safe to redo. Raises Refused, Missing, Conflict,
        Fenced, Defect, if the participant says no: nothing has changed there. Raises NoAnswer or Lost: it may be done,
        and may be asked for again.
        """
        atomic, gid = self._atomic, self._gid(loss)
        said = atomic.messages.call(
            loss.service,
            "redo",
            {"gid": str(gid), "members": loss.values, "age": loss.age, "sure": sure},
            queue=atomic.installation.branch_queue(loss.service),
            within=WITHIN,
        )
        redone = read_redone(said)
        if not atomic.coordinator.databases.accepts(loss.service, redone["database"]):
            raise NoAnswer(f"answers from database {redone['database']}, which is not known as its own")
        with Session(atomic.engine) as session, session.begin():
            losses.close(session, [loss], losses.REDONE)
        return redone["members"]

    def release(self, members: Iterable[str]) -> list[str]:
        """Of these transactions, of which nothing is lost any more, let recovery take up those that were quarantined,
        and who shares their attempt. Returns those that were."""
        with Session(self._atomic.engine) as session, session.begin():
            aside = journal.quarantined_among(session, [UUID(member) for member in members])
            for one in aside:
                journal.release(session, one)
        return [str(one) for one in aside]

    def _gid(self, loss: Loss) -> Gid:
        return Gid(self._atomic.installation, loss.kind, loss.transaction, loss.attempt, loss.branch)
