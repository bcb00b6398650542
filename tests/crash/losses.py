"""What a database that failed over to a standby behind it has forgotten, computed from rows and answers alone.

A pure judge. It is given the tables of the three databases as they stand when the shop is quiet, those of every primary
as it stood when it died, and what clients were answered. It says which committed transactions have lost something,
which of what was answered is undone as a whole, and what must not be: half a transaction that nobody names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
#: table → its rows
Tables = Mapping[str, Sequence[Row]]
#: service → its tables
Books = Mapping[str, Tables]
#: (leader, number)
Attempt = tuple[str, int]

#: The tables that the judge wants of every service, and those of some.
PROTOCOL = ("transactions", "transaction_branches", "branch_rows")
BUSINESS = {"users": ("users",), "products": ("products",), "orders": ("orders",)}
_DISTRIBUTED = ("place", "cancel", "remove")
#: Refusals that tell of another transaction, which may well commit.
_OF_ANOTHER = ("user_is_being_removed", "order_is_being_cancelled")
_BRANCH, _TRANSACTION = "branch", "transaction"
#: Branches that change nothing. One that is forgotten is no loss if it would be granted still; where nothing else of a
#: transaction is done, it is undone as a whole.
_HOLDS = frozenset({"users.hold_active_user"})


@dataclass(frozen=True, order=True)
class Loss:
    """`service` has forgotten its part in a transaction that committed elsewhere: a branch, or the journal's row."""

    transaction: str
    kind: str
    attempt: int
    branch: str
    lost: str
    service: str


@dataclass
class Findings:
    """What came of one judgement.

    `losses`: committed in part of the services and forgotten in another, for good: each has to be named. `held`: the
    same of branches that only hold, which may be named. `unheld`: open orders of users who do not exist, because their
    hold was forgotten, and the transactions that placed them: these have to be named. `undone`: a
    client was told yes or 202, and there is no trace of it anywhere, so all of it was forgotten. `overturned`: told no,
    and committed afterwards. `in_quarantine`: contradictions that are left to a person. `given_twice`: ids told
    to two who asked for a new one. `orphans`: open orders of users who do not exist, and no loss explains it.
    `violations`: what must not be, in words.
    """

    losses: list[Loss] = field(default_factory=list)
    held: list[Loss] = field(default_factory=list)
    unheld: list[tuple[str, str]] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    overturned: list[str] = field(default_factory=list)
    in_quarantine: list[str] = field(default_factory=list)
    given_twice: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def judge(books: Books, dead: Sequence[tuple[str, Tables]], history: Sequence[Row]) -> Findings:
    """`books`: the databases now; `dead`: (service, tables) of each primary that died, in order."""
    now = _Now(books, dead)
    findings = Findings()
    _lost_branches(now, findings)
    _lost_decisions(now, findings)
    _split(now, findings)
    _marks(books, now, findings)
    _answers(history, now, findings)
    findings.losses = sorted(set(findings.losses))
    findings.given_twice = given_twice(history, books)
    held = {loss.transaction for loss in findings.held}
    unexplained = _orphans(books, now, findings.losses)
    findings.orphans = [order for order, placed_by in unexplained if placed_by not in held]
    findings.unheld = [(order, placed_by) for order, placed_by in unexplained if placed_by in held]
    findings.violations = list(dict.fromkeys(findings.violations))
    return findings


def unnamed(losses: Iterable[Loss], said: Sequence[Mapping[str, Any]]) -> list[Loss]:
    """Those that nobody has named: by the transaction, or in what is said of the attempt that it shared."""
    named = {
        (id, one["lost"], one.get("branch") if one["lost"] == _BRANCH else None)
        for one in said
        for id in _named_in(one)
    }
    return [
        loss
        for loss in losses
        if (loss.transaction, loss.lost, loss.branch if loss.lost == _BRANCH else None) not in named
    ]


def unnamed_holds(unheld: Iterable[tuple[str, str]], said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Orders that are open, of nobody, and nobody says so."""
    named = {id for one in said if one["lost"] == _BRANCH and one["branch"] in _HOLDS for id in _named_in(one)}
    return [order for order, placed_by in unheld if placed_by not in named]


def not_lost(losses: Iterable[Loss], said: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is named as lost, and is not."""
    lost = {(loss.transaction, loss.lost) for loss in losses}
    return [one for one in said if not any((id, one["lost"]) in lost for id in _named_in(one))]


def _named_in(one: Mapping[str, Any]) -> set[str]:
    """The transactions that one of the services' losses tells of: its own, which may have led others, and those for
    which it has values."""
    return {one["transaction"], *(one.get("values") or {})}


def given_twice(history: Sequence[Row], books: Books) -> list[str]:
    """Ids of users, products and orders that two different requests were given."""
    told = Counter(
        (what, entry[what])
        for entry in history
        for operation, what in (("add_user", "user"), ("add_product", "product"))
        if entry["operation"] == operation and entry["status"] == 201
    )
    placed = defaultdict(set)
    for entry in history:
        if entry["operation"] == "place" and entry.get("result_order") and entry.get("transaction"):
            placed[entry["result_order"]].add(entry["transaction"])
    for row in books["orders"]["transactions"]:
        if row["kind"] == "place_order" and row["state"] == "committed":
            placed[row["result"]["order"]["id"]].add(str(row["id"]))
    twice = [f"{what} {id} was given {times} times" for (what, id), times in told.items() if times > 1]
    twice += [f"order {id} was given to {sorted(those)}" for id, those in placed.items() if len(those) > 1]
    return sorted(twice)


class _Now:
    """The rows, by what they are looked up by."""

    def __init__(self, books: Books, dead: Sequence[tuple[str, Tables]]) -> None:
        self.journals = {str(row["id"]): row for tables in books.values() for row in tables["transactions"]}
        self.coordinator = {
            str(row["id"]): service for service, tables in books.items() for row in tables["transactions"]
        }
        self.told: dict[Attempt, set[str]] = defaultdict(set)
        self.done: dict[Attempt, set[str]] = defaultdict(set)
        self.fenced: dict[Attempt, set[str]] = defaultdict(set)
        self.committed: dict[Attempt, list[str]] = defaultdict(list)
        #: For whom a hold stands, which may have been taken again for some.
        self.held_for: dict[Attempt, set[str]] = {}
        for tables in books.values():
            for row in tables["transaction_branches"]:
                self.told[str(row["transaction_id"]), row["attempt"]].add(row["name"])
            for row in tables["branch_rows"]:
                into = self.done if row["kind"] == "done" else self.fenced
                attempt = str(row["transaction_id"]), row["attempt"]
                into[attempt].add(row["branch"])
                if row["branch"] in _HOLDS and row.get("members") is not None:
                    self.held_for[attempt] = {*row["members"]}
        for id, row in self.journals.items():
            if row["state"] == "committed":
                self.committed[_attempt(row)].append(id)
        #: What the dead have known as committed: attempt → who was in it.
        self.was_committed: dict[Attempt, dict[str, Row]] = defaultdict(dict)
        self.ever: dict[str, Row] = {}
        self.coordinated_by: dict[str, str] = {}
        for service, tables in dead:
            for row in tables["transactions"]:
                id = str(row["id"])
                self.ever[id], self.coordinated_by[id] = row, service
                if row["state"] == "committed":
                    self.was_committed[_attempt(row)][id] = row

    def quarantined(self, ids: Iterable[str]) -> bool:
        return any(self.journals[id]["quarantined_at"] for id in ids if id in self.journals)

    def is_in_part(self, id: str) -> bool:
        """Whether a branch is done of the attempt in which a dead primary knew it as committed."""
        row = self.ever.get(id)
        return bool(row and row["state"] == "committed" and self.did(_attempt(row)))

    def did(self, attempt: Attempt) -> set[str]:
        """The branches of an attempt that are done, and are more than holds."""
        return self.done.get(attempt, set()) - _HOLDS

    def state(self, id: str) -> str:
        row = self.journals.get(id)
        return f"{row['state']} in attempt {row['attempt']}" if row else "not known"


def _attempt(row: Row) -> Attempt:
    """The attempt that a transaction was last part of: its own, or its leader's."""
    return (str(row["leader"]), row["leader_attempt"]) if row["leader"] else (str(row["id"]), row["attempt"])


def _service_of(branch: str) -> str:
    return branch.partition(".")[0]


def _lost_branches(now: _Now, findings: Findings) -> None:
    """The journal has committed it, and a branch is not there."""
    for attempt, members in now.committed.items():
        if not now.told[attempt]:
            findings.violations.append(f"{members}: committed in attempt {attempt}, of which no branch was told")
        for branch in now.told[attempt] & _HOLDS & now.done[attempt]:
            findings.held += [
                Loss(id, now.journals[id]["kind"], attempt[1], branch, _BRANCH, _service_of(branch))
                for id in members
                if id not in now.held_for.get(attempt, members)
            ]
        for branch in now.told[attempt] - now.done[attempt]:
            into = findings.held if branch in _HOLDS else findings.losses
            into += [
                Loss(id, now.journals[id]["kind"], attempt[1], branch, _BRANCH, _service_of(branch)) for id in members
            ]


def _lost_decisions(now: _Now, findings: Findings) -> None:
    """A branch is done, which proves a decision, and the journal does not have it for all whom it was made for."""
    for attempt in [one for one in now.done if now.did(one)]:
        leader, number = attempt
        known = now.committed.get(attempt, [])
        members = {id: row for id, row in now.was_committed.get(attempt, {}).items() if id not in known}
        if not members and not known:
            members = {leader: now.ever.get(leader, {})}
        branches = ", ".join(sorted(now.done[attempt]))
        for id, row in members.items():
            if now.quarantined([id, leader]):
                findings.in_quarantine.append(
                    f"{id}: attempt {attempt} is done at {branches}, and it is {now.state(id)}"
                )
            elif id in now.journals:
                findings.violations.append(
                    f"{id}: attempt {attempt} is done at {branches}, and its coordinator says: {now.state(id)}"
                )
            else:
                service = now.coordinated_by.get(id, "?")
                findings.losses.append(Loss(id, row.get("kind", "?"), number, branches, _TRANSACTION, service))


def _split(now: _Now, findings: Findings) -> None:
    """One branch of an attempt is done and another is fenced for ever."""
    for attempt in now.done.keys() & now.fenced.keys():
        if now.done[attempt] and now.fenced[attempt]:
            where = f"attempt {attempt}: done {sorted(now.done[attempt])}, fenced {sorted(now.fenced[attempt])}"
            members = [attempt[0], *now.committed.get(attempt, []), *now.was_committed.get(attempt, {})]
            into = findings.in_quarantine if now.quarantined(members) else findings.violations
            into.append(f"{attempt[0]}: {where}")


def _marks(books: Books, now: _Now, findings: Findings) -> None:
    """Nobody is marked by a transaction that is over."""
    marked = [("user", row["id"], row["removed_by"]) for row in books["users"]["users"] if row["status"] != "active"]
    marked += [
        ("order", row["id"], row["cancelled_by"]) for row in books["orders"]["orders"] if row["status"] == "cancelling"
    ]
    for what, id, by in marked:
        row = now.journals.get(str(by))
        if row is None or (row["state"] != "preparing" and not row["quarantined_at"]):
            findings.violations.append(f"{by}: {what} {id} is marked by it, and it is {now.state(str(by))}")


def _answers(history: Sequence[Row], now: _Now, findings: Findings) -> None:
    """What a client was told is so, or all of it was forgotten."""
    for entry in history:
        id, status = entry.get("transaction"), entry.get("status")
        if entry["operation"] not in _DISTRIBUTED or not id:
            continue
        row = now.journals.get(id)
        committed = row is not None and row["state"] == "committed"
        if status in (409, 503) and committed and entry["reason"] not in _OF_ANOTHER:
            findings.overturned.append(f"{id}: told {status}, and it is committed")
        if committed or status not in (200, 201, 202) or (row and status == 202):
            continue
        if now.quarantined([id]) or now.is_in_part(id):
            continue
        if id not in now.ever:
            findings.violations.append(f"{id}: told {status}, and nobody alive or dead has known it")
        else:
            findings.undone.append(f"{id}: told {status}, and it is {now.state(id)}")
    findings.undone = sorted(set(findings.undone))


def _orphans(books: Books, now: _Now, losses: Sequence[Loss]) -> list[tuple[str, str]]:
    """Open orders of users who do not exist, in words, and who has placed them; but for those that a loss explains, of
    what removed the user or of what placed the order."""
    users = {row["id"] for row in books["users"]["users"]}
    lost = {loss.transaction for loss in losses}
    placed_by = {
        row["result"]["order"]["id"]: id
        for id, row in [*now.ever.items(), *now.journals.items()]
        if row["kind"] == "place_order" and row["state"] == "committed"
    }
    removals = {
        row["values"]["user_id"]
        for id, row in [*now.ever.items(), *now.journals.items()]
        if id in lost and row["kind"] == "remove_user"
    }
    return [
        (
            f"order {row['id']} is {row['status']} and its user {row['user_id']} does not exist",
            placed_by.get(row["id"], ""),
        )
        for row in books["orders"]["orders"]
        if row["status"] in ("open", "cancelling")
        and row["user_id"] not in users
        and placed_by.get(row["id"]) not in lost
        and row["user_id"] not in removals
    ]


# ---- for people


def story(id: str, books: Books, dead: Sequence[tuple[str, Tables]], history: Sequence[Row]) -> Iterator[str]:
    """All that is known of one transaction, a line each: what clients were told, the journals' rows, and what each side
    has of its attempts, but for those that were rolled back everywhere. The dead are primaries as they died."""
    yield f"{id}:"
    yield from (f"  client: {_short(entry)}" for entry in history if entry.get("transaction") == id)
    sides = [*books.items(), *((f"dead {service}", tables) for service, tables in dead)]
    attempts: dict[Attempt, list[str]] = {}
    for side, tables in sides:
        for row in tables["transactions"]:
            if id == str(row["id"]):
                attempts[_attempt(row)] = []
                yield f"  {side} has: {_short(row)}"
    for side, tables in sides:
        for row in (*tables["transaction_branches"], *tables["branch_rows"]):
            attempt = str(row["transaction_id"]), row["attempt"]
            if attempt[0] == id or attempt in attempts:
                attempts.setdefault(attempt, []).append(f"{side}: {_of_branch(row)}")
    for (leader, number), lines in sorted(attempts.items()):
        led = f" led by {leader}" if leader != id else ""
        if not all(line.endswith(_OVER) for line in lines) or not lines:
            yield f"  attempt {number}{led}: {'; '.join(lines) or 'nobody has a row'}"


_OVER = ("tombstone", "rollback answered")


def _of_branch(row: Row) -> str:
    if "kind" in row:
        return f"{row['branch']} {row['kind']}"
    answered = "answered" if row["settled_at"] else "not answered"
    return f"{row['name']} vote={row['vote']} outcome={row['outcome']} {answered}"


def _short(row: Row) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.items() if value not in (None, "", False))
