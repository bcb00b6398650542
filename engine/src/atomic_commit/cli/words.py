"""Words of the command line that several verbs take."""

from __future__ import annotations

import argparse
from uuid import UUID


def uuid_of(text: str) -> UUID:
    """A transaction's id."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a transaction id") from None


def seconds(text: str) -> float:
    """A time from now, or to now."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
