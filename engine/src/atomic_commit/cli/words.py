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
