"""Which installation of the shop this process belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping

from atomic_commit.names import Installation

#: The same wherever the shop is installed.
APPLICATION = "shop"

#: The variable that names the installation.
VARIABLE = "ATOMIC_INSTALLATION"


def installation(environment: Mapping[str, str] = os.environ) -> Installation:
    """The installation that ``ATOMIC_INSTALLATION`` names. Raises ValueError where it is not set, or is no such name.

    There is no default: two installations that share a broker by mistake would then share their names as well.
    """
    name = environment.get(VARIABLE)
    if not name:
        raise ValueError(
            f"{VARIABLE} is not set: give this installation of the shop a name that no other one on the same broker or"
            f" database server has, the same for all its processes; for example {VARIABLE}=main"
        )
    try:
        return Installation(APPLICATION, name)
    except ValueError as error:
        raise ValueError(f"{VARIABLE}: {error}") from None
