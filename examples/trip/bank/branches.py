"""What the bank does in transactions of other services."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Branches, Missing, Refused

branches = Branches("bank")

_LOCK = text("SELECT 1 FROM accounts WHERE name = ANY(:names) ORDER BY name FOR UPDATE")
_TAKE = text("UPDATE accounts SET balance = balance - :price WHERE name = :account AND balance >= :price RETURNING 1")
_NOTE = text("INSERT INTO payments (trip, account, amount) VALUES (:trip, :account, :price)")
_BALANCE = text("SELECT balance FROM accounts WHERE name = :account")


@branches.branch
def pay(session: Session, trip: str, account: str, price: int) -> None:
    """Take the price of a trip from an account. Refuses where it is unknown, or short."""
    if session.execute(_TAKE, {"account": account, "price": price}).first() is None:
        raise _refusal(session, account, price)
    session.execute(_NOTE, {"trip": trip, "account": account, "price": price})


@branches.locks(pay)
def lock_accounts(session: Session, trip: list[str], account: list[str], price: list[int]) -> None:
    """For trips that share an attempt: lock all their accounts in one order before the first of them pays."""
    session.execute(_LOCK, {"names": account})


def _refusal(session: Session, account: str, price: int) -> Refused:
    balance = session.execute(_BALANCE, {"account": account}).scalar_one_or_none()
    if balance is None:
        return Missing("unknown_account", f"There is no account {account}.")
    return Refused("account_short", f"The account {account} has {balance}, the trip costs {price}.")
