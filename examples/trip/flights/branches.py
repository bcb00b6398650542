"""What the flights service does in transactions of other services."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused, Values

branches = Branches("flights")

_LOCK = text("SELECT 1 FROM flights WHERE number = ANY(:numbers) ORDER BY number FOR UPDATE")
_SELL = text("UPDATE flights SET sold = sold + 1 WHERE number = :flight AND sold < seats RETURNING sold")
_NOTE = text("INSERT INTO tickets (trip, flight, seat) VALUES (:trip, :flight, :seat)")


@branches.branch
def book_seat(session: Session, trip: str, flight: str) -> Values:
    """Sell the next seat of a flight. Returns its number; refuses where there is none."""
    seat = session.execute(_SELL, {"flight": flight}).scalar_one_or_none()
    if seat is None:
        raise Refused("no_seat", f"The flight {flight} has no seat left.")
    session.execute(_NOTE, {"trip": trip, "flight": flight, "seat": seat})
    return {"seat": seat}


@branches.locks(book_seat)
def lock_flights(session: Session, trip: list[str], flight: list[str]) -> None:
    """For trips that share an attempt: lock all their flights in one order before the first seat is sold."""
    session.execute(_LOCK, {"numbers": flight})
