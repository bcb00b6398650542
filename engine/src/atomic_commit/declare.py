"""How a service says what its transactions are and which branches it offers to others."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload
from uuid import UUID

from sqlalchemy.orm import Session

from atomic_commit.errors import Conflict, Refused
from atomic_commit.names import service_of

#: Plain JSON values by name; what travels from begin through the branches to commit.
Values = dict[str, Any]

BranchFunction = Callable[..., Values | None]
_F = TypeVar("_F", bound=BranchFunction)
_T = TypeVar("_T", bound=Callable[..., Sequence["Values | Refused | None"]])


def _no_change(session: Session, transaction: UUID, values: Values) -> None:
    """For a transaction that changes nothing of its own when it begins or aborts."""


@dataclass(frozen=True)
class TransactionKind:
    """One operation that spans services, as the service that starts it sees it.

    ``name``: without the service, for example "remove_user".
    ``begin(session, transaction, arguments) -> values``: runs inside the request, in one local transaction with the
    journal row. Checks, marks, and returns the values that the branches work on. May raise Refused, Missing, Conflict:
    then nothing was accepted and nothing is left behind.
    ``begin_batch(session, {transaction: arguments}) -> {transaction: values}``: optional, the same for several that
    come at the same moment, with fewer statements. Whatever it raises undoes it, and each begins by itself.
    ``branches``: names of branch functions elsewhere, as ``service.function``, in the order in which they run. Keep the
    one global order of services and of rows, or two transactions can wait for each other across databases, which no
    database sees.
    ``commit(session, transaction, values) -> result``: the coordinator's own change, in one local transaction with the
    decision: that commit is the commit point. `values` holds what begin and every branch returned. May raise Refused.
    ``commit_batch(session, {transaction: values}) -> {transaction: result}``: optional, the same for several that
    share an attempt, with fewer statements. Whatever it raises undoes it, and each goes again by itself.
    ``abort(session, transaction, values)``: takes back what begin marked, in one local transaction with the decision.
    Must always be possible. `values` holds what begin returned, and nothing of the branches.

    None of them may commit, roll back or talk to anything but the given session.
    """

    name: str
    branches: tuple[str, ...]
    commit: Callable[[Session, UUID, Values], Values | None]
    begin: Callable[[Session, UUID, Values], Values]
    abort: Callable[[Session, UUID, Values], None] = _no_change
    begin_batch: Callable[[Session, Mapping[UUID, Values]], Mapping[UUID, Values]] | None = None
    commit_batch: Callable[[Session, Mapping[UUID, Values]], Mapping[UUID, Values | None]] | None = None

    def __post_init__(self) -> None:
        if not self.branches or len(set(self.branches)) != len(self.branches):
            raise ValueError(f"{self.name}: at least one branch, and each only once")


def check_lock_order(kinds: Iterable[TransactionKind], order: Sequence[str]) -> None:
    """Raise ValueError for a kind whose branches do not run in the one global `order` of services: two transactions
    could wait for each other's rows across databases, which no database sees."""
    for kind in kinds:
        services = [service_of(branch) for branch in kind.branches]
        if unknown := [service for service in services if service not in order]:
            raise ValueError(f"{kind.name}: {unknown[0]} has no place in the lock order {', '.join(order)}")
        if services != sorted(services, key=order.index):
            raise ValueError(
                f"{kind.name}: its branches lock rows in the order {', '.join(services)}; every transaction has to do"
                f" so in the order {', '.join(order)}"
            )


def check_calls(service: str, kinds: Iterable[TransactionKind], calls: Collection[str]) -> None:
    """Raise ValueError for a kind of `service` with a branch of another service than those that it `calls`."""
    for kind in kinds:
        for branch in kind.branches:
            if (called := service_of(branch)) not in calls:
                raise ValueError(
                    f"{service}.{kind.name}: its branch {branch} is refused, {service} may not call {called}; it may"
                    f" call {', '.join(calls) or 'nobody'} (change the calls that {service} is declared with)"
                )


@dataclass(frozen=True)
class BranchDeclaration:
    """One branch that a service offers. (What each function may do, ``Branches`` says.)"""

    #: "service.function"
    name: str
    function: BranchFunction
    #: names of the values that the function takes
    takes: tuple[str, ...]
    #: locks the rows of several transactions; None: each locks its own
    locks: BranchFunction | None = None
    #: does the work of several transactions at once; None: the function runs for one after the other
    batch: Callable[..., Sequence[Values | Refused | None]] | None = None
    #: whether it changes nothing
    holds: bool = False
    #: whether it is right, with the recorded values, whenever it runs
    safe_to_redo: bool = False

    def given(self, values: Mapping[str, Any]) -> Values:
        """Of these values those that it takes, as far as they are there."""
        return {name: values[name] for name in self.takes if name in values}

    def call(self, session: Session, values: Mapping[str, Any]) -> Values:
        """Run the business function on the values that it names. What it returns joins the values."""
        return self.function(session, **self._taken(values)) or {}

    def lock(self, session: Session, members: Sequence[Mapping[str, Any]]) -> None:
        """Lock what the branch will touch for all of these transactions, before it runs for the first of them."""
        if self.locks:
            self.locks(session, **self._lists(members))

    def call_batch(self, session: Session, members: Sequence[Mapping[str, Any]]) -> list[Values | Refused] | None:
        """What ``call`` would return for each of these transactions, all at once, or the Refused that it would raise.
        None where nothing does that."""
        if self.batch is None:
            return None
        return [own or {} for own in self.batch(session, **self._lists(members))]

    def _lists(self, members: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        taken = [self._taken(values) for values in members]
        return {name: [values[name] for values in taken] for name in self.takes}

    def _taken(self, values: Mapping[str, Any]) -> Values:
        missing = [name for name in self.takes if name not in values]
        if missing:
            # Another release has begun it, or run an earlier branch, and gave other values: it is tried again.
            raise Conflict(f"{self.name} needs the values {missing}, which neither begin nor an earlier branch gave")
        return {name: values[name] for name in self.takes}


class Branches:
    """The branches that one service offers, each declared by a decorator on a plain function::

    branches = Branches("products")

    @branches.branch
    def restock(session, quantities): ...        # becomes the task "products.restock"
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.declared: dict[str, BranchDeclaration] = {}

    @overload
    def branch(self, function: _F) -> _F: ...

    @overload
    def branch(self, *, safe_to_redo: bool = False) -> Callable[[_F], _F]: ...

    def branch(self, function: _F | None = None, *, safe_to_redo: bool = False) -> _F | Callable[[_F], _F]:
        """Declare `function(session, name, …)`; its parameter names say which values it takes.

        What it returns joins the values, for the branches behind it and for the kind's commit. It may raise Refused
        (final, and so is Missing, which the coordinator knows as a refusal) or Conflict (tried again). It may not
        commit, roll back or talk to anything but the session: what it has done is prepared when it returns. It is not
        told which transaction it works for: where it has to know, begin returns the id, as text, among the values.

        ``@branches.branch(safe_to_redo=True)`` promises that the function, with the values that were recorded when its
        transaction was committed, is right whenever it runs, however late and whatever has happened meanwhile: it does
        then what it should have done, or it refuses. Where this service's database has forgotten it, ``redo`` runs it
        again without further question. (What it returns then nobody uses: the others have worked with what it returned
        the first time.) Without that promise a person is shown branch and values first, and has to say yes.
        """
        if function is None:
            return lambda declared: self._declare(declared, safe_to_redo)
        return self._declare(function, safe_to_redo)

    def _declare(self, function: _F, safe_to_redo: bool) -> _F:
        first, *takes = inspect.signature(function).parameters
        if first != "session":
            raise TypeError(f"{function.__name__}: the first parameter of a branch is its session")
        name = f"{self.service}.{function.__name__}"
        self.declared[name] = BranchDeclaration(name, function, tuple(takes), safe_to_redo=safe_to_redo)
        return function

    def hold(self, function: _F) -> _F:
        """Declare a branch that changes nothing: it looks whether the transaction may happen, and locks what it has
        seen so that this stays so until the outcome::

            @branches.hold
            def hold_active_user(session, user_id): ...

        Nothing of it has to be undone. Where every branch before was a hold, whoever is refused is left out of an
        attempt and the others go on, as at the first branch: so holds come first where the global order allows it. A
        hold that writes raises Impossible.
        """
        self.branch(function)
        name = f"{self.service}.{function.__name__}"
        self.declared[name] = replace(self.declared[name], holds=True)
        return function

    @property
    def holds(self) -> list[str]:
        """The names of those that change nothing."""
        return [name for name, branch in self.declared.items() if branch.holds]

    def locks(self, function: BranchFunction) -> Callable[[_F], _F]:
        """Declare what locks, in primary-key order, the rows that the branch `function` touches, for several
        transactions at once: same parameter names, each the list of their values::

            @branches.locks(restock)
            def lock_products(session, quantities): ...

        Transactions that share an attempt run one after the other in one local transaction. Each locks in order; one
        after the other they would not, and two attempts could wait for each other in a circle.
        """
        name = f"{self.service}.{function.__name__}"

        def declare(locks: _F) -> _F:
            self.declared[name] = replace(self.declared[name], locks=locks)
            return locks

        return declare

    def batch(self, function: BranchFunction) -> Callable[[_T], _T]:
        """Declare what does the work of the branch `function` for several transactions with a few statements: same
        parameter names, each the list of their values; it returns the list of what the function would return::

            @branches.batch(restock)
            def restock_all(session, quantities): ...

        It is tried first, and has to lock in primary-key order by itself. Whatever it raises undoes it, and then each
        transaction is asked by itself: it need not tell who is in the way. Where it knows whom the function would
        refuse, it returns that Refused in the place of what the function would return, and goes on as if that one were
        not there: then it is asked again for the others alone, which spares asking each.
        """
        name = f"{self.service}.{function.__name__}"

        def declare(batch: _T) -> _T:
            self.declared[name] = replace(self.declared[name], batch=batch)
            return batch

        return declare
