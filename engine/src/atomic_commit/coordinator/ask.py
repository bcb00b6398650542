"""A coordinator that may have forgotten asks its participants before it decides.

Its database may have failed over to a standby that was behind, or come back from a backup. Then what it has decided may
be known to the participants alone, and what it knows may be over. The rules (Bernstein, Hadzilacos & Goodman,
"Concurrency Control and Recovery in Database Systems", 1987, section 7.4; Gray & Reuter, "Transaction Processing",
1993, section 10.4):

- A branch that is done proves a decision to commit: there is no other way to a visible branch row.
- It is asked about the *transaction*, not about an attempt: of attempts the coordinator may have forgotten some.
- Who is undecided and finds such a proof commits, and settles the rest (roll forward). Who finds none goes into another
  attempt, whose number was never used.
- A branch of an attempt that nobody here knows is committed where another branch of the attempt is done; else it is
  rolled back (presumed abort), as far as the journal reaches back.
- What was both committed and rolled back can't be made whole: quarantine, with what each side has done.

Testimonies are kept in rows until all participants have given theirs, so any worker can go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit.coordinator.decide import changed_locally
from atomic_commit.declare import TransactionKind
from atomic_commit.errors import AtomicCommitError, Conflict, Impossible, Lost
from atomic_commit.journal import asking, deciding, records
from atomic_commit.journal.records import BranchRecord, Outcome, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.names import Gid, service_of
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.wire.hand_over import Found, Testified
from atomic_commit.wire.messages import Messages, Question

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """The attempt in which a transaction was committed, by its name, and its branches as they were found there (name →
    state, "absent" for one that is not there)."""

    leader: UUID
    number: int
    branches: Mapping[str, str]

    def those(self, state: str) -> list[str]:
        """The branches in that state, in order."""
        return [name for name, found in self.branches.items() if found == state]

    def __str__(self) -> str:
        told = ", ".join(f"{name} {state}" for name, state in self.branches.items())
        return f"attempt {self.number} of {self.leader}: {told}"


class Asking:
    """What one coordinator asks, and what it makes of the answers."""

    def __init__(
        self, engine: Engine, messages: Messages, kinds: Mapping[str, TransactionKind], limits: Limits
    ) -> None:
        self._engine, self._reads, self._messages = engine, autocommit(engine), messages
        self._kinds, self._limits = kinds, limits

    # ---- a branch asks

    def inquired(self, gid: Gid, age: float) -> None:
        """A participant asks what became of a branch that stands prepared there for `age` seconds."""
        with Session(self._reads) as session:
            branch = asking.read_branch(session, gid.transaction, gid.attempt, gid.branch)
            under_way = records.read_attempt(session, gid.transaction, gid.attempt)
            record = records.read(session, gid.transaction)
        if branch and branch.outcome:
            log.warning("%s is prepared and asks: it is told once more to %s", gid, branch.outcome)
            self._tell([gid], branch.outcome)
        elif under_way:
            log.info("%s is prepared and asks: it is not decided yet", gid)
        elif record and record.asking_since:
            log.info("%s is prepared and asks: its transaction is asked about", gid)
        else:
            self._ask_about_attempt(gid, age)

    def _ask_about_attempt(self, gid: Gid, age: float) -> None:
        """Nobody here knows this attempt, or what became of it: it was never accepted here, or is forgotten."""
        kind = self._kind_of(gid)
        if kind is None:
            return
        with Session(self._reads) as session:
            if not asking.reaches_back(session, age, self._limits.keep_transactions):
                log.critical("%s stands prepared for longer than this journal reaches back: QUARANTINE", gid)
                return
            now, life = records.now(session), asking.own_life(session)
        log.warning("%s is prepared and asks, and nobody here knows it: its other branches are asked", gid)
        self._messages.ask(_services(kind), Question(gid.transaction, gid.attempt, kind.name, now, life))

    def _kind_of(self, gid: Gid) -> TransactionKind | None:
        kind = self._kinds.get(gid.kind.partition(".")[2])
        if kind is None:
            log.critical("%s asks, and nobody here knows its kind: QUARANTINE", gid)
        return kind

    # ---- a participant testifies

    def hear(
        self, transaction: UUID, attempt: int, kind_name: str, service: str, said: Testified, life: str | None
    ) -> None:
        """A participant has testified, to this life. The last testimony tells what is to be done."""
        kind = self._kinds.get(kind_name)
        if kind is None:
            raise Impossible(f"nobody here knows the kind {kind_name!r}")
        with Session(self._engine) as session, session.begin():
            if life != asking.own_life(session):
                log.warning("%s has testified about %s to a life before: that counts for nothing", service, transaction)
                return
            asking.record_testimony(session, transaction, attempt, service, said)
            heard = asking.read_testimonies(session, transaction, attempt)
        if heard.keys() < _services(kind):
            return
        if attempt:
            self._conclude_attempt(transaction, attempt, kind, heard)
        elif record := self._read(transaction):
            self.conclude(record, kind, heard)

    def _conclude_attempt(self, leader: UUID, number: int, kind: TransactionKind, heard: Mapping[str, Any]) -> None:
        """What the branches of an attempt are told that nobody here knows."""
        self._learn_epochs(heard)
        found = _all_found(heard)
        states, outcome = _states(kind, leader, number, found), self._outcome(kind, leader, number, found)
        told = [name for name, state in states.items() if outcome is Outcome.ROLLBACK or state == "prepared"]
        log.critical("attempt %d of %s is not in this journal (%s): %s", number, leader, states, outcome)
        self._tell((self._gid(kind, leader, number, name) for name in told), outcome)
        with Session(self._engine) as session, session.begin():
            asking.forget_testimonies(session, leader, number)

    # ---- a transaction that is undecided, as far as this database knows

    def look(self, record: TransactionRecord) -> bool:
        """Ask who has not testified yet, or conclude. Returns False if the broker could not be reached."""
        kind = self._kinds.get(record.kind)
        if kind is None:
            raise Impossible(f"nobody here knows the kind {record.kind!r}")
        with Session(self._reads) as session:
            heard, life = asking.read_testimonies(session, record.id, 0), asking.own_life(session)
        if missing := [service for service in sorted(_services(kind)) if service not in heard]:
            return self._messages.ask(missing, Question(record.id, 0, record.kind, record.created_at, life))
        self.conclude(record, kind, heard)
        return True

    def conclude(self, record: TransactionRecord, kind: TransactionKind, heard: Mapping[str, Any]) -> None:
        """Everybody has testified about an undecided transaction: roll it forward, or let it go on.

        Raises Impossible, with what each side has done, where it can't be made whole.
        """
        if record.decided or not record.asking_since:
            return
        self._learn_epochs(heard)
        found = _all_found(heard)
        proof = _proof(record.id, kind, found)
        if proof is None:
            self._go_on(record, kind, found)
        elif proof.those("tombstone"):
            raise Impossible(f"committed at one participant and rolled back at another: {proof}")
        elif prepared := proof.those("prepared"):
            # It is proven; what these have returned can be read once they have done it.
            self._tell((self._gid(kind, proof.leader, proof.number, name) for name in prepared), Outcome.COMMIT)
            with Session(self._engine) as session, session.begin():
                asking.forget_testimonies(session, record.id, 0, sorted({service_of(name) for name in prepared}))
        else:
            self._roll_forward(record, kind, proof, heard)

    def _go_on(self, record: TransactionRecord, kind: TransactionKind, found: Sequence[Found]) -> None:
        """Nobody has done anything of it."""
        with Session(self._engine) as session, session.begin():
            if not asking.go_on(session, record.id, self._limits.look_after):
                return
            self._abandon(session, record, kind, found)
            asking.forget_testimonies(session, record.id, 0)
        log.warning("%s %s: nobody has done it; it goes into another attempt", record.kind, record.id)
        self._tell_prepared(record, kind, found)

    def _roll_forward(
        self, record: TransactionRecord, kind: TransactionKind, proof: Proof, heard: Mapping[str, Any]
    ) -> None:
        """It was decided to commit: decide so again, with the coordinator's own change."""
        found = _all_found(heard)
        holds = {name for testified in heard.values() for name in testified["holds"]}
        lost = [name for name in proof.those("absent") if name not in holds]
        if lost and any(len(one["members"] or {}) > 1 for one in _done(proof, found)):
            raise Impossible(f"whether {', '.join(lost)} has left it out is forgotten: {proof}")
        values = {**record.values, **_values(record.id, proof, found)}
        with Session(self._engine) as session:
            if not asking.roll_forward(session, record.id, proof.leader, proof.number, self._limits.branch_row_timeout):
                return
            self._own_change(session, kind, record, proof, values)
            if proof.leader != record.id and records.read(session, proof.leader) is None:
                raise Impossible(f"committed together with a transaction that is forgotten: {proof}")
            self._abandon(session, record, kind, found)
            gids = {name: str(self._gid(kind, proof.leader, proof.number, name)) for name in kind.branches}
            asking.insert_told(session, proof.leader, proof.number, gids, [n for n in gids if n not in lost])
            asking.forget_testimonies(session, record.id, 0)
            deciding.tell_who_waits(session)
            session.commit()
        log.warning("%s %s: ROLLED FORWARD to committed, by %s", record.kind, record.id, proof)
        self._tell_prepared(record, kind, found)

    def _own_change(
        self, session: Session, kind: TransactionKind, record: TransactionRecord, proof: Proof, values: dict[str, Any]
    ) -> None:
        """Raises Impossible where it can't be made any more."""
        try:
            with translated_errors():
                results = changed_locally(session, kind, [record.id], {str(record.id): values})
        except (Conflict, Lost):
            raise  # tried again
        except AtomicCommitError as error:
            raise Impossible(
                f"committed at the participants, and the change here can't be made: {error}; {proof}"
            ) from error
        deciding.record_commit(session, {record.id: values}, results)

    def _abandon(
        self, session: Session, record: TransactionRecord, kind: TransactionKind, found: Sequence[Found]
    ) -> None:
        """The attempt that this database believes to be under way is over, for who leads it."""
        leader, number = record.led_by
        if leader == record.id and not record.waiting:
            asking.abandon(session, leader, number, _outcome(kind, leader, number, found))

    def _tell_prepared(self, record: TransactionRecord, kind: TransactionKind, found: Sequence[Found]) -> None:
        """What stands prepared in attempts that it led is told what became of them; no row will."""
        for number in sorted({one["attempt"] for one in found if one["transaction"] == str(record.id)}):
            states = _states(kind, record.id, number, found)
            prepared = [self._gid(kind, record.id, number, name) for name, s in states.items() if s == "prepared"]
            self._tell(prepared, self._outcome(kind, record.id, number, found))

    def _outcome(self, kind: TransactionKind, leader: UUID, number: int, found: Iterable[Found]) -> Outcome:
        """What became of an attempt: what the journal says, for others who went with it may have been decided in it
        without who led it; else what the participants have done."""
        with Session(self._reads) as session:
            return asking.read_outcome(session, leader, number) or _outcome(kind, leader, number, found)

    # ---- both

    def _read(self, transaction: UUID) -> TransactionRecord | None:
        with Session(self._reads) as session:
            return records.read(session, transaction)

    def _learn_epochs(self, heard: Mapping[str, Any]) -> None:
        for service, testified in heard.items():
            self._messages.learn_epoch(service, testified["epoch"])

    def _gid(self, kind: TransactionKind, leader: UUID, number: int, name: str) -> Gid:
        return Gid.parse(self._messages.task_ids(kind, leader, number)[name])

    def _tell(self, gids: Iterable[Gid], outcome: Outcome) -> None:
        with Session(self._reads) as session:
            now = records.now(session)
        told = [
            BranchRecord(gid.transaction, gid.branch, gid.attempt, 0, str(gid), now, None, None, outcome, now, None)
            for gid in gids
        ]
        self._messages.send_outcomes(told, now)


def _services(kind: TransactionKind) -> set[str]:
    """Who takes part."""
    return {service_of(name) for name in kind.branches}


def _all_found(heard: Mapping[str, Any]) -> list[Found]:
    return [one for testified in heard.values() for one in testified["found"]]


def _states(kind: TransactionKind, leader: UUID, number: int, found: Iterable[Found]) -> dict[str, str]:
    """Branch → its state in this attempt, in the order of the kind's branches. Of one that was seen prepared and is
    done, it is done."""
    states = dict.fromkeys(kind.branches, "absent")
    for one in found:
        if (one["transaction"], one["attempt"]) == (str(leader), number) and states.get(one["branch"]) != "done":
            states[one["branch"]] = one["state"]
    return states


def _outcome(kind: TransactionKind, leader: UUID, number: int, found: Iterable[Found]) -> Outcome:
    """What became of an attempt: done anywhere, it was committed; else nobody has done it."""
    done = "done" in _states(kind, leader, number, found).values()
    return Outcome.COMMIT if done else Outcome.ROLLBACK


def _proof(transaction: UUID, kind: TransactionKind, found: Sequence[Found]) -> Proof | None:
    """The attempt in which this transaction was committed, if there is one. Raises Impossible for several.

    A branch that is done for it proves that; unless a later one has left it out, which is known once all are done.
    """
    proven = {(UUID(one["transaction"]), one["attempt"]) for one in found if _is_done_for(one, transaction)}
    proofs = [Proof(leader, number, _states(kind, leader, number, found)) for leader, number in proven]
    proofs = [proof for proof in proofs if proof.those("prepared") or not _is_left_out(transaction, proof, found)]
    if len(proofs) > 1:
        raise Impossible(f"committed in several attempts: {'; '.join(map(str, proofs))}")
    return proofs[0] if proofs else None


def _done(proof: Proof, found: Iterable[Found]) -> list[Found]:
    """The branches of that attempt that are done."""
    name = (str(proof.leader), proof.number)
    return [one for one in found if (one["transaction"], one["attempt"]) == name and one["state"] == "done"]


def _is_left_out(transaction: UUID, proof: Proof, found: Iterable[Found]) -> bool:
    return not all(_is_done_for(one, transaction) for one in _done(proof, found))


def _is_done_for(one: Found, transaction: UUID) -> bool:
    """Whether this branch is done, and for that transaction. (Release 0.1 did not write down for whom; in most attempts
    it is the leader.)"""
    members = one["members"]
    mine = str(transaction) in members if members is not None else one["transaction"] == str(transaction)
    return one["state"] == "done" and mine


def _values(transaction: UUID, proof: Proof, found: Iterable[Found]) -> dict[str, Any]:
    """What the branches were given and have returned for the transaction, in the attempt that is proven."""
    values: dict[str, Any] = {}
    for one in _done(proof, found):
        values |= (one["members"] or {}).get(str(transaction), {})
    return values
