"""Which installation of the shop this process belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from atomic_commit import Installation
from atomic_commit.names import INSTALLATION_VARIABLE

#: The same wherever the shop is installed.
APPLICATION = "shop"

VARIABLE = INSTALLATION_VARIABLE


def installation(environment: Mapping[str, str] | None = None) -> Installation:
    """The installation that ``ATOMIC_INSTALLATION`` names. Raises ValueError without one."""
    return Installation.from_environment(APPLICATION, environment)
