"""What the four services agree on. They share no code but this, and no database at all."""

from __future__ import annotations

APPLICATION = "trip"
SERVICES = ("bank", "flights", "hotels", "trips")
#: The one order in which every transaction locks rows, so that two of them never wait for each other in a circle.
LOCK_ORDER = ("bank", "flights", "hotels")

#: The branches, by the names of the service and the function behind them.
BANK_PAY = "bank.pay"
FLIGHTS_BOOK_SEAT = "flights.book_seat"
HOTELS_BOOK_ROOM = "hotels.book_room"
