"""What the hotels service does in transactions of other services."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused, Values

branches = Branches("hotels")

_LOCK = text(
    "SELECT 1 FROM nights WHERE (hotel, night) IN"
    " (SELECT * FROM unnest(CAST(:hotels AS text[]), CAST(:nights AS date[])))"
    " ORDER BY hotel, night FOR UPDATE"
)
_TAKE = text(
    "UPDATE nights SET taken = taken + 1"
    " WHERE hotel = :hotel AND night = CAST(:night AS date) AND taken < rooms RETURNING taken"
)
_NOTE = text("INSERT INTO stays (trip, hotel, night, room) VALUES (:trip, :hotel, :night, :room)")


@branches.branch
def book_room(session: Session, trip: str, hotel: str, night: str) -> Values:
    """Take the next room of a night. Returns its number; refuses where there is none."""
    room = session.execute(_TAKE, {"hotel": hotel, "night": night}).scalar_one_or_none()
    if room is None:
        raise Refused("no_room", f"The hotel {hotel} has no room left on {night}.")
    session.execute(_NOTE, {"trip": trip, "hotel": hotel, "night": night, "room": room})
    return {"room": room}


@branches.locks(book_room)
def lock_nights(session: Session, trip: list[str], hotel: list[str], night: list[str]) -> None:
    """For trips that share an attempt: lock all their nights in one order before the first room is taken."""
    session.execute(_LOCK, {"hotels": hotel, "nights": night})
