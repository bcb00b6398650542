"""Whether each side of every transaction still has what the other side knows.

A committed transaction stands in two places: in its coordinator's journal, and in a branch row of each participant. A
database that failed over to a standby that was behind, or came back from a backup, has forgotten its side. What can be
settled is settled by recovery; what cannot is lost, and is named here, by whoever still has the other side:

- as coordinator: of what is committed and settled (or quarantined) in this journal, each branch has to be done at its
  participant, for this transaction. Else the participant has lost a *branch*. (A hold that would be granted still has
  lost nothing; a row stands for it again.)
- as participant: of each branch that is done here, each member has to be committed, in that very attempt, in its
  coordinator's journal. Else the coordinator has lost a *transaction*. (Where only holds are done, nothing is done
  anywhere: that transaction is undone as a whole.)

Both are read page by page in the order of an index, the other side is asked by message, many rows at a time, and what
seems lost is asked about once more before it is said. But for holds, nothing is repaired.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit.declare import Values
from atomic_commit.journal import comparing, losses
from atomic_commit.journal.comparing import Accepted
from atomic_commit.journal.losses import Loss
from atomic_commit.names import Gid, service_of
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.verify.peers import ANSWERED, Peers
from atomic_commit.wire.comparing import Absent, Key

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit

log = logging.getLogger(__name__)

#: Rows read at a time.
_PAGE = 1000
#: Seconds. What seems lost is asked about again when it is at least so old: the one side may have been read a moment
#: before the other.
YOUNG = 5.0
#: By so much more than was asked for is compared: the clocks of two databases differ, and a branch may stand prepared
#: for long before it is decided.
_MARGIN = timedelta(hours=1)
#: Of the age at which retention removes the other side's rows: what is nearly as old may be gone a moment later.
_NEARLY = 0.99

_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_NOBODY = UUID(int=0)

HAVE_DONE, HAVE_COMMITTED = "have_done", "have_committed"


@dataclass
class Verified:
    """What came of a verification.

    ``asked``: service → ``ANSWERED``, or why it has not answered; whoever had nothing to answer is not in it.
    ``branches``: compared with participants; ``transactions``: with coordinators. ``skipped``: branch rows of release
    0.1, which do not tell who coordinates them. ``harmless``: forgotten holds, which were granted again. ``lost``:
    losses, known ones included, but for those that a person has closed; ``new`` of them were not known.
    ``found_again``: known ones that are there after all. ``since``: nothing older was compared, if it is not None.
    """

    since: datetime | None = None
    asked: dict[str, str] = field(default_factory=dict)
    branches: int = 0
    transactions: int = 0
    skipped: int = 0
    harmless: int = 0
    lost: int = 0
    new: int = 0
    found_again: int = 0

    @property
    def silent(self) -> dict[str, str]:
        """Who has not answered, and why."""
        return {service: words for service, words in self.asked.items() if words != ANSWERED}


@dataclass
class _Suspect:
    """A branch of which the other side seems to know nothing for these members. ``age``: seconds since its attempt;
    ``ripe_at``: when it may be asked about again, by the monotonic clock."""

    service: str
    gid: Gid
    age: float
    ripe_at: float = 0.0
    members: set[str] = field(default_factory=set)
    decided_at: datetime = _FIRST


class Verification:
    """The comparisons of one service."""

    def __init__(self, atomic: AtomicCommit) -> None:
        self._atomic = atomic

    def run(
        self,
        since: datetime | timedelta | None = None,
        services: Collection[str] | None = None,
        *,
        progress: Callable[[Verified], object] = lambda _: None,
        found: Callable[[Sequence[Loss]], object] = lambda _: None,
    ) -> Verified:
        """Compare everything that is kept, or what was committed since a moment or in the last so many seconds, with
        all other services or with these.

        `found(losses)` is called with some at a time, each branch of an attempt once; they are written down and logged
        by then. `progress(so_far)` is called after every page. Raises WrongDatabase, and Lost or Conflict where this
        service's database can't be asked.
        """
        self._atomic.identity.database()
        with translated_errors():
            return _Run(self._atomic, services, progress, found).everything(since)

    def of(self, transaction: UUID, found: Callable[[Sequence[Loss]], object]) -> Verified | None:
        """The same for one transaction that this service coordinates, with those who share its attempt; or for those
        whose attempt it has led. None where this journal has none of that id."""
        self._atomic.identity.database()
        with translated_errors():
            return _Run(self._atomic, None, lambda _: None, found).one(transaction)


class _Run:
    """One verification."""

    def __init__(
        self,
        atomic: AtomicCommit,
        services: Collection[str] | None,
        progress: Callable[[Verified], object],
        found: Callable[[Sequence[Loss]], object],
    ) -> None:
        self._installation, self._limits = atomic.installation, atomic.limits
        self._proofs, self._engine, self._reads = atomic.proofs, atomic.engine, autocommit(atomic.engine)
        self._peers, self._progress, self._found = Peers(atomic, services), progress, found
        self._verified = Verified(asked=self._peers.asked)

    def everything(self, since: datetime | timedelta | None) -> Verified:
        now = self._now()
        if since is not None:
            since = (now - since if isinstance(since, timedelta) else since) - _MARGIN
        self._verified.since = since
        self._as_coordinator(since, now)
        self._as_participant(since, now)
        self._look_again()
        return self._verified

    def one(self, transaction: UUID) -> Verified | None:
        with Session(self._reads) as session:
            accepted = comparing.with_companions(session, transaction)
        if not accepted:
            return None
        suspects: dict[Gid, _Suspect] = {}
        self._suspect_branches([one for one in accepted if one.over], suspects)
        self._tell_branches(suspects.values())
        return self._verified

    # ---- as coordinator

    def _as_coordinator(self, since: datetime | None, until: datetime) -> None:
        after, suspects = (_FIRST, _NOBODY), dict[Gid, _Suspect]()
        while page := self._page(after, until):
            after = page[-1].created_at, page[-1].id
            over = [one for one in page if one.over and (since is None or (one.over_at and one.over_at >= since))]
            self._suspect_branches(over, suspects)
            # Whoever shares an attempt was accepted before it was decided, so of these all have been seen.
            complete = [suspect for suspect in suspects.values() if suspect.decided_at < after[0]]
            self._tell_branches(complete)
            for suspect in complete:
                del suspects[suspect.gid]
            self._progress(self._verified)
        self._tell_branches(suspects.values())

    def _page(self, after: comparing.Place, until: datetime) -> list[Accepted]:
        with Session(self._reads) as session:
            return comparing.page(session, after, until, _PAGE)

    def _suspect_branches(self, over: Iterable[Accepted], suspects: dict[Gid, _Suspect]) -> None:
        """Ask the participants of these transactions, and add to `suspects` what they have not."""
        attempts: dict[comparing.Attempt, list[Accepted]] = defaultdict(list)
        for one in over:
            attempts[one.attempt].append(one)
        with Session(self._reads) as session:
            told = comparing.told_branches(session, attempts, _NEARLY * self._limits.keep_branch_rows)
        branches = {branch.gid: branch for branch in told}
        keys = [
            (service_of(gid.branch), (gid, tuple(str(one.id) for one in attempts[branch.attempt])))
            for gid, branch in branches.items()
        ]
        for service, asked, lacks in self._peers.lacking(HAVE_DONE, keys):
            self._verified.branches += len(asked)
            self._hold_again(service, [key for key in asked if str(key[0]) in lacks["harmless"]], branches)
            for gid, absent in _of_ours(asked, lacks["absent"]):
                suspect = suspects.setdefault(gid, _Suspect(service, gid, branches[gid].age))
                suspect.members |= set(absent["members"])
                for one in attempts[branches[gid].attempt]:
                    suspect.ripe_at = max(suspect.ripe_at, _ripe(one.age))
                    suspect.decided_at = max(suspect.decided_at, one.decided_at)

    def _hold_again(self, service: str, keys: Sequence[Key], branches: Mapping[Gid, comparing.ToldBranch]) -> None:
        """Holds that are forgotten are taken again, and let go of: nothing is missing of those that are granted, and
        they are not asked about any more. Of the others something is: what they held was changed, or never was."""
        with Session(self._reads) as session:
            values = comparing.recorded_values(session, {UUID(member) for _, members in keys for member in members})
        ages = {gid: branches[gid].age for gid, _ in keys}
        holds = [(gid, {member: values[member] for member in members}, ages[gid]) for gid, members in keys]
        for gid, refused in self._peers.unheld(service, holds):
            if not refused:
                self._verified.harmless += 1
                continue
            absent = Absent(members=list(refused), found=", ".join(sorted(set(refused.values()))), safe_to_redo=True)
            self._record([_loss(_Suspect(service, gid, ages[gid]), service, losses.BRANCH, absent, values)])

    def _tell_branches(self, suspects: Iterable[_Suspect]) -> None:
        self._tell(suspects, HAVE_DONE, losses.BRANCH, self._values_of_branches)

    def _values_of_branches(self, absent: Mapping[Gid, Absent]) -> dict[Gid, dict[str, Values]]:
        wanted = {UUID(member) for one in absent.values() for member in one["members"]}
        with Session(self._reads) as session:
            values = comparing.recorded_values(session, wanted)
        return dict.fromkeys(absent, values)

    # ---- as participant

    def _as_participant(self, since: datetime | None, until: datetime) -> None:
        kept = until - timedelta(seconds=_NEARLY * self._limits.keep_transactions)
        after = (max(since or kept, kept), _NOBODY, 0, "")
        while page := self._proofs.page(after, until, _PAGE):
            after = page[-1].place
            done = [row for row in page if row.done and not self._proofs.holds(row.place[-1])]
            self._verified.skipped += sum(row.gid is None for row in done)
            rows = {row.gid: row for row in done if row.gid}
            suspects = []
            keys = [(gid.coordinator, (gid, row.members)) for gid, row in rows.items()]
            for service, asked, lacks in self._peers.lacking(HAVE_COMMITTED, keys):
                self._verified.transactions += sum(len(members) for _, members in asked)
                suspects += [
                    _Suspect(service, gid, rows[gid].age, _ripe(rows[gid].age), set(absent["members"]))
                    for gid, absent in _of_ours(asked, lacks["absent"])
                ]
            self._tell(suspects, HAVE_COMMITTED, losses.TRANSACTION, lambda absent: self._proofs.values(list(absent)))
            self._progress(self._verified)

    # ---- both

    def _tell(
        self,
        suspects: Iterable[_Suspect],
        verb: str,
        lost: str,
        values_of: Callable[[Mapping[Gid, Absent]], Mapping[Gid, Mapping[str, Values]]],
    ) -> None:
        """Ask about these once more. What is lost is written down, logged, and handed on."""
        by_gid = {suspect.gid: suspect for suspect in suspects}
        if not by_gid:
            return
        time.sleep(max(0.0, max(suspect.ripe_at for suspect in by_gid.values()) - time.monotonic()))
        keys = [(one.service, (one.gid, tuple(sorted(one.members)))) for one in by_gid.values()]
        for service, asked, lacks in self._peers.lacking(verb, keys):
            absent = dict(_of_ours(asked, lacks["absent"]))
            values = values_of(absent) if absent else {}
            self._record([_loss(by_gid[gid], service, lost, one, values.get(gid, {})) for gid, one in absent.items()])

    def _record(self, found: Sequence[Loss]) -> None:
        if not found:
            return
        with Session(self._engine) as session, session.begin():
            recorded = losses.record(session, found)
        for loss, _, is_new in recorded:
            if is_new:
                log.critical("LOST: %s (verify names it, redo runs it again or closes it)", loss)
        self._verified.lost += len(recorded)
        self._verified.new += sum(is_new for *_, is_new in recorded)
        if recorded:
            self._found([replace(loss, found_at=found_at) for loss, found_at, _ in recorded])

    def _look_again(self) -> None:
        """What was lost before, and is there again, is closed: it was run again, or a database has come back."""
        after = (_NOBODY, 0, "", "")
        while page := self._open_losses(after):
            after = page[-1].key
            for verb, lost in ((HAVE_DONE, losses.BRANCH), (HAVE_COMMITTED, losses.TRANSACTION)):
                by_gid = {self._gid(loss): loss for loss in page if loss.lost == lost}
                keys = [(loss.service, (gid, tuple(loss.values))) for gid, loss in by_gid.items()]
                for _, asked, lacks in self._peers.lacking(verb, keys):
                    missing = {*lacks["absent"], *lacks["harmless"]}
                    self._close([by_gid[gid] for gid, _ in asked if str(gid) not in missing])

    def _open_losses(self, after: tuple[UUID, int, str, str]) -> list[Loss]:
        with Session(self._reads) as session:
            return losses.page_of_open(session, after, _PAGE)

    def _close(self, found: Sequence[Loss]) -> None:
        if not found:
            return
        with Session(self._engine) as session, session.begin():
            losses.close(session, found, losses.FOUND_AGAIN)
        for loss in found:
            log.warning("no longer lost: %s", loss)
        self._verified.found_again += len(found)

    def _gid(self, loss: Loss) -> Gid:
        return Gid(self._installation, loss.kind, loss.transaction, loss.attempt, loss.branch)

    def _now(self) -> datetime:
        with Session(self._reads) as session:
            now: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now


def _of_ours(asked: Sequence[Key], absent: Mapping[str, Absent]) -> Iterable[tuple[Gid, Absent]]:
    """Of what is said to be absent that which was asked about."""
    return [(gid, absent[str(gid)]) for gid, _ in asked if str(gid) in absent]


def _ripe(age: float) -> float:
    return time.monotonic() + max(0.0, YOUNG - age)


def _loss(suspect: _Suspect, service: str, lost: str, absent: Absent, values: Mapping[str, Any]) -> Loss:
    gid = suspect.gid
    return Loss(
        gid.transaction,
        gid.attempt,
        gid.branch,
        lost,
        service,
        gid.kind,
        {member: values.get(member, {}) for member in absent["members"]},
        absent["found"],
        absent["safe_to_redo"],
        suspect.age,
    )
