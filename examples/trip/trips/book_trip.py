"""Book a trip: a payment, a seat and a room, all or nothing.

begin    look the offer up, write the trip down as ``booking``
bank     take the price; refuses where the account is short
flights  sell a seat; refuses where there is none
hotels   take a room; refuses where there is none
commit   the trip is ``booked``, with its seat and its room
abort    the trip is ``refused``
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Missing, TransactionKind, Values
from examples.trip.contract import BANK_PAY, FLIGHTS_BOOK_SEAT, HOTELS_BOOK_ROOM

_OFFER = text("SELECT flight, hotel, CAST(night AS text) AS night, price FROM offers WHERE name = :offer")
_BEGUN = text("INSERT INTO trips (id, account, offer, state) VALUES (:trip, :account, :offer, 'booking')")
_BOOKED = text("UPDATE trips SET state = 'booked', seat = :seat, room = :room WHERE id = :trip")
_REFUSED = text("UPDATE trips SET state = 'refused' WHERE id = :trip")


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    """What it returns, the branches take by the names of their parameters."""
    account, offer = arguments["account"], arguments["offer"]
    found = session.execute(_OFFER, {"offer": offer}).mappings().one_or_none()
    if found is None:
        raise Missing("unknown_offer", f"There is no offer {offer}.", "offer")
    session.execute(_BEGUN, {"trip": str(transaction), "account": account, "offer": offer})
    return {"trip": str(transaction), "account": account, **found}


def commit(session: Session, transaction: UUID, values: Values) -> None:
    """The seat and the room are what the branches have returned."""
    session.execute(_BOOKED, {"trip": str(transaction), "seat": values["seat"], "room": values["room"]})


def abort(session: Session, transaction: UUID, values: Values) -> None:
    session.execute(_REFUSED, {"trip": str(transaction)})


book_trip = TransactionKind(
    name="book_trip",
    begin=begin,
    branches=(BANK_PAY, FLIGHTS_BOOK_SEAT, HOTELS_BOOK_ROOM),
    commit=commit,
    abort=abort,
)
