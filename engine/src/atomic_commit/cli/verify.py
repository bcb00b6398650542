"""What a database has forgotten: ``verify`` names it, ``redo`` runs it again, ``came-back-older`` says that it has."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy.orm import Session

from atomic_commit.cli.tables import as_table, moment
from atomic_commit.cli.words import uuid_of
from atomic_commit.errors import AtomicCommitError, Lost, NoAnswer
from atomic_commit.journal import losses
from atomic_commit.journal.losses import Loss
from atomic_commit.verify.redo import Redo
from atomic_commit.verify.verification import Verified

if TYPE_CHECKING:
    from atomic_commit.cli.verbs import Operated

# Exit codes, beside 0 (done, nothing is lost), 1 (a database that says no) and 2 (a wrong command line; nothing done).
#: Losses are named.
LOSSES = 3
#: Somebody has not answered.
SILENT = 4
#: The participant has refused, and nothing has changed there.
REFUSED = 5

_HEADS = ("LOST", "TRANSACTION", "ATTEMPT", "KIND", "BRANCH", "FORGOTTEN BY", "SINCE", "VALUES")
#: Rows of one table; characters of its last column; characters of a reason.
_ROWS, _SHORT, _LONGEST_REASON = 200, 60, 200
#: Seconds between two lines of progress.
_PROGRESS = 5.0
_UNITS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file to a command line (`verbs`: argparse's subparsers)."""
    verify = verbs.add_parser(
        "verify", help="compare what is done and decided here with what the other services have, and name what is lost"
    )
    verify.add_argument(
        "--since",
        type=_since,
        metavar="WHEN",
        help="only what was committed since then: 2026-11-27T09:30 (UTC unless it says else), or 90min, 12h, 3d ago",
    )
    verify.add_argument("--json", action="store_true", help="one JSON object, for programs")
    verify.set_defaults(run=_verify)

    older = verbs.add_parser(
        "came-back-older", help="say that this database was set back to an earlier moment, where nothing shows it"
    )
    older.set_defaults(run=_came_back_older)

    redo = verbs.add_parser(
        "redo", help="run again what a participant has lost of a transaction that this service coordinates"
    )
    redo.add_argument("transaction", type=uuid_of, metavar="TRANSACTION-ID")
    how = redo.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="also a branch that is not declared as safe to redo")
    how.add_argument(
        "--close", type=_reason, metavar="WHY", help="instead: a person has dealt with all that is lost of it"
    )
    redo.set_defaults(run=_redo)


# ---- verify


def _verify(operated: Operated, arguments: argparse.Namespace) -> int:
    report: _Json | _Table = _Json() if arguments.json else _Table()
    try:
        verification = operated.atomic().verification
        verified = verification.run(arguments.since, progress=_Progress(), found=report.found)
    except AtomicCommitError as error:
        return _failed(operated, "verify", error)
    report.end(verified)
    return SILENT if verified.silent else LOSSES if verified.lost else 0


class _Json:
    """One object, written as it comes: there may be very many losses."""

    def __init__(self) -> None:
        self._separator = '{"losses": [\n'

    def found(self, found: Sequence[Loss]) -> None:
        for loss in found:
            print(self._separator + json.dumps(_as_json(loss)), end="")
            self._separator = ",\n"

    def end(self, verified: Verified) -> None:
        head = "" if self._separator == ",\n" else self._separator
        compared = {"branches": verified.branches, "transactions": verified.transactions, "skipped": verified.skipped}
        print(f'{head}],\n"asked": {json.dumps(verified.asked)},\n"compared": {json.dumps(compared)}}}')


def _as_json(loss: Loss) -> dict[str, Any]:
    return {
        "transaction": str(loss.transaction),
        "kind": loss.kind,
        "attempt": loss.attempt,
        "branch": loss.branch,
        "lost": loss.lost,
        "service": loss.service,
        "values": loss.values,
        "found_at": moment(loss.found_at),
    }


class _Table:
    """Tables of so many rows, each row with a line of what to do."""

    def __init__(self) -> None:
        self._rows: list[Loss] = []

    def found(self, found: Sequence[Loss]) -> None:
        self._rows += found
        if len(self._rows) >= _ROWS:
            self._print()

    def _print(self) -> None:
        if self._rows:
            head, *rows = as_table(_HEADS, [_row(loss) for loss in self._rows]).splitlines()
            print(head)
            for loss, row in zip(self._rows, rows, strict=True):
                print(f"{row}\n    {_advice(loss)}")
        self._rows = []

    def end(self, verified: Verified) -> None:
        self._print()
        for line in _summary(verified):
            print(line)


def _row(loss: Loss) -> tuple[str, ...]:
    since = moment(loss.found_at) or "-"
    what = (loss.lost, str(loss.transaction), str(loss.attempt), loss.kind, loss.branch, loss.service)
    return (*what, since.partition(".")[0].removesuffix("Z") + "Z", _values(loss))


def _values(loss: Loss) -> str:
    told = ", ".join(json.dumps(own) for own in loss.values.values())
    if len(loss.values) > 1:
        told = f"{len(loss.values)} transactions: {told}"
    return told if len(told) <= _SHORT else f"{told[: _SHORT - 1]}…"


def _advice(loss: Loss) -> str:
    id = loss.transaction
    if loss.lost == losses.TRANSACTION:
        has = "" if loss.found == "nothing" else f" ({loss.service} has it as: {loss.found})"
        return (
            f"a person: undo here what {loss.branch} has done, or do at {loss.service} what is forgotten there{has};"
            f" then redo {id} --close WHY"
        )
    if loss.found not in ("nothing", "others", "a tombstone"):
        return f"a person: {loss.branch} would be refused now ({loss.found}); put it right, then redo {id} --close WHY"
    if loss.found == "a tombstone":
        return f"a person: {loss.service} has rolled it back; make it whole there, then redo {id} --close WHY"
    return f"redo {id}" if loss.safe_to_redo else f"look whether it is still right, then redo {id} --yes"


def _summary(verified: Verified) -> list[str]:
    since = f"; committed since {moment(verified.since)}" if verified.since else ""
    nothing = "nothing is lost, as far as is known" if verified.silent else "nothing is lost"
    notes = {
        "branch rows of release 0.1 do not tell who coordinates them and were skipped": verified.skipped,
        "holds were forgotten, are granted still, and stand again": verified.harmless,
        "known losses are there again and closed": verified.found_again,
    }
    return [
        f"{verified.lost} lost" if verified.lost else nothing,
        f"compared: {verified.branches} branches with participants, {verified.transactions} transactions with"
        f" coordinators{since}",
        *(f"{number} {words}" for words, number in notes.items() if number),
        *(f"{service}: {words}" for service, words in verified.asked.items()),
    ]


class _Progress:
    """A line to stderr, now and then."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, so_far: Verified) -> None:
        if time.monotonic() - self._told_at < _PROGRESS:
            return
        self._told_at = time.monotonic()
        print(
            f"{so_far.branches} branches and {so_far.transactions} transactions compared, {so_far.lost} lost",
            file=sys.stderr,
        )


# ---- came-back-older


def _came_back_older(operated: Operated, arguments: argparse.Namespace) -> int:
    operated.atomic().lives.came_back_older()
    print(
        "noted: sequences have skipped ids, what is undecided is asked about before it is decided, and within seconds"
        " an outcome worker has all other services compare with this one"
    )
    return 0


# ---- redo


def _redo(operated: Operated, arguments: argparse.Namespace) -> int:
    transaction: UUID = arguments.transaction
    if arguments.close is not None:
        return _close(operated, transaction, arguments.close)
    try:
        atomic, lost = operated.atomic(), list[Loss]()
        verified = atomic.verification.of(transaction, lost.extend)
    except AtomicCommitError as error:
        return _failed(operated, "redo", error)
    if verified is None:
        return _nothing_done(f"this service coordinates no transaction {transaction}")
    if verified.silent:
        for service, words in verified.silent.items():
            print(f"nothing done: {service}: {words}", file=sys.stderr)
        return SILENT
    if not lost:
        return _nothing_done(f"nothing of {transaction} is lost, or a person has closed it")
    unsafe = [loss for loss in lost if not loss.safe_to_redo]
    if unsafe and not arguments.yes:
        for loss in unsafe:
            print(f"{loss.branch} is not declared as safe to redo. It would run at {loss.service}, for")
            for member, values in loss.values.items():
                print(f"  {member}  {json.dumps(values)}")
        return _nothing_done("look whether that is still right, then say --yes")
    return _run_again(Redo(atomic), lost, arguments.yes)


def _run_again(redo: Redo, lost: Sequence[Loss], sure: bool) -> int:
    for loss in lost:
        name = f"{loss.branch} of attempt {loss.attempt}"
        try:
            members = redo.run(loss, sure=sure)
        except (NoAnswer, Lost) as error:
            print(f"{name}: {loss.service}: {error}; it may be done: ask again", file=sys.stderr)
            return SILENT
        except AtomicCommitError as error:
            print(f"{name}: {loss.service} has refused, nothing has changed there: {error}", file=sys.stderr)
            return REFUSED
        print(f"{name} was run again at {loss.service} for {', '.join(members) or 'nobody: it had been before'}")
    for member in redo.release({member for loss in lost for member in loss.values}):
        print(f"{member} was quarantined, and is released")
    return 0


def _close(operated: Operated, transaction: UUID, why: str) -> int:
    with Session(operated.engine) as session, session.begin():
        closed = losses.close_of(session, transaction, why)
    if not closed:
        return _nothing_done(f"no open loss of {transaction} is known here")
    for loss in closed:
        print(f"closed: {loss.branch} of attempt {loss.attempt}, for {', '.join(loss.values)}: {why}")
    return 0


def _nothing_done(words: str) -> int:
    print(f"nothing done: {words}", file=sys.stderr)
    return 2


def _failed(operated: Operated, verb: str, error: AtomicCommitError) -> int:
    print(f"{operated.program} {verb}: {error}", file=sys.stderr)
    return 1


# ---- words of the command line


def _since(text: str) -> datetime | timedelta:
    if span := re.fullmatch(r"(\d{1,9})(s|min|m|h|d|)", text):
        return timedelta(seconds=int(span[1]) * _UNITS[span[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time nor a time span (90min, 12h, 3d)") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _reason(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a reason is one line of at most {_LONGEST_REASON} characters")
    return text
