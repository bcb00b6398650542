"""What a service does for others that compare what they have with it: the tasks of its workers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from atomic_commit.declare import Values
from atomic_commit.errors import Conflict
from atomic_commit.journal import comparing
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.verify.peers import HOLD_AGAIN
from atomic_commit.verify.verification import HAVE_COMMITTED, HAVE_DONE
from atomic_commit.wire.comparing import Absent, Lacks, Redone, Unheld, read_keys
from atomic_commit.wire.other_releases import read_gid, read_moment

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit

log = logging.getLogger(__name__)


def answers(atomic: AtomicCommit) -> Mapping[str, Callable[..., Any]]:
    """Verb → the body of its task. All run in the outcome worker and only read, but for ``redo`` and ``hold_again``,
    which run branches and so are sent to the branch queue."""
    reads = autocommit(atomic.engine)

    def have_done(keys: list[Any], database: str | None) -> Lacks:
        """Of these branches, for these members, which are not done here?"""
        atomic.identity.must_be(database)
        with translated_errors():
            absent, harmless = atomic.proofs.lacking(read_keys(keys))
        return {"absent": absent, "harmless": harmless, "database": atomic.identity.database()}

    def have_committed(keys: list[Any], database: str | None) -> Lacks:
        """Of these branches, for these members, which are not committed in this journal?"""
        atomic.identity.must_be(database)
        with translated_errors(), Session(reads) as session:
            missing = comparing.uncommitted(session, read_keys(keys))
        absent = {str(gid): _absent(of_one) for gid, of_one in missing.items()}
        return {"absent": absent, "harmless": [], "database": atomic.identity.database()}

    def came_back_older(service: str, since: str) -> None:
        """That service's database may have forgotten what was committed after that time."""
        atomic.in_background.against(str(service), read_moment(since))

    def hold_again(holds: list[Any], database: str | None) -> Unheld:
        """Which of these holds, which this database has forgotten, would be refused now?"""
        refused, left = {}, []
        for gid, members, age in holds:
            try:
                refused[gid] = atomic.run_again.hold_again(read_gid(gid), members, age, meant_for=database)
            except Conflict as error:
                log.info("%s can't be taken again for now: %s", gid, error)
                left.append(gid)
        return {"refused": refused, "left": left, "database": atomic.identity.database()}

    def redo(gid: str, members: dict[str, Values], age: float, sure: bool, database: str | None) -> Redone:
        """Run a branch again that this database has forgotten."""
        redone = atomic.run_again.redo(read_gid(gid), members, age, sure=sure, meant_for=database)
        return {"members": redone, "database": atomic.identity.database()}

    return {
        HAVE_DONE: have_done,
        HAVE_COMMITTED: have_committed,
        HOLD_AGAIN: hold_again,
        "came_back_older": came_back_older,
        "redo": redo,
    }


def _absent(found: Mapping[str, str]) -> Absent:
    """`found`: member → what is there instead."""
    return {"members": list(found), "found": ", ".join(sorted(set(found.values()))), "safe_to_redo": False}
