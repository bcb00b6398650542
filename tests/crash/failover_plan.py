"""Which failovers a run does: drawn from a seed, before anything is started."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from celery_config.manifest import COORDINATORS, SERVICES

from .replication import DEATHS

MODES = ("sync", "async")
#: Seconds by which a standby is behind where it is asynchronous, at least and at most.
LEAST_LAG, MOST_LAG = 0.1, 5.0
#: One way between a primary and a standby that it waits for.
_DISTANCES = (0.0, 0.0, 0.02, 0.05)
_DEATH_WEIGHTS = (5, 3, 2)
#: How often two services are lost at once.
_TWO = 0.3
#: Longer than the services' ``statement_timeout``: commits that wait for a standby that is cut off are cancelled.
_BEYOND_PATIENCE = 12.0


@dataclass(frozen=True)
class Plan:
    """One failover: of which services, in which way, and seconds.

    `lags`: by how much each one's standby is behind. `load_before`: how long the load goes on before. `isolated`: for
    how long a primary that dies so serves its clients and feeds no standby. `away`: from the death to the promotion.
    """

    number: int
    mode: str
    services: tuple[str, ...]
    lags: tuple[float, ...]
    death: str
    load_before: float
    isolated: float
    away: float

    @property
    def synchronous(self) -> bool:
        return self.mode == "sync"

    def __str__(self) -> str:
        how = f"isolated for {self.isolated:.1f} s, then killed" if self.isolated else self.death
        lags = ", ".join(f"{lag:.2f}" for lag in self.lags)
        return f"{self.number} {self.mode}: {' and '.join(self.services)} {how}, standby {lags} s behind"


def plans(seed: str, mode: str, rounds: int, only: str = "") -> Iterator[Plan]:
    """`rounds` failovers in one mode, of the service `only` if it is given."""
    dice = random.Random(f"failover {seed} {mode}")
    for number in range(1, rounds + 1):
        services = (only,) if only else _services(dice)
        lags = tuple(_lag(dice, mode) for _ in services)
        death = dice.choices(DEATHS, _DEATH_WEIGHTS)[0]
        isolated = _isolated(dice, mode) if death == "isolated" else 0.0
        load_before, away = max(lags) + dice.uniform(1, 3), dice.uniform(0, 2)
        yield Plan(number, mode, services, lags, death, load_before, isolated, away)


def _services(dice: random.Random) -> tuple[str, ...]:
    """One, or a coordinator and another one that takes part in what it coordinates."""
    if dice.random() >= _TWO:
        return (dice.choice(SERVICES),)
    coordinator = dice.choice(COORDINATORS)
    return coordinator, dice.choice([service for service in SERVICES if service != coordinator])


def _lag(dice: random.Random, mode: str) -> float:
    """Of an asynchronous standby: as often below half a second as above one."""
    if mode == "sync":
        return dice.choice(_DISTANCES)
    return round(LEAST_LAG * (MOST_LAG / LEAST_LAG) ** dice.random(), 2)


def _isolated(dice: random.Random, mode: str) -> float:
    if mode == "sync" and dice.random() < 0.3:
        return _BEYOND_PATIENCE
    return round(dice.uniform(0.5, 4), 1)
