"""What the shop itself says is lost: ``python -m <service>_service verify --json``, of all services."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from celery_config.manifest import SERVICES
from embedded.shop import Shop

from ..verify import Said, read
from . import verbs
from .losses import HOLDS, Loss

VERB = "verify"


@dataclass(frozen=True)
class Verdict:
    """``losses``: named by any of the services. ``wrong``: what the verb did not do as it should, in words."""

    losses: frozenset[Loss]
    wrong: tuple[str, ...] = ()


def verified(shop: Shop) -> Verdict:
    """Ask every service."""
    said = Said()
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        answers = pool.map(lambda service: verbs.run(shop, service, VERB, "--json"), SERVICES)
        for service, done in zip(SERVICES, answers, strict=True):
            read(service, done, said)
    return verdict_of(said)


def verdict_of(said: Said) -> Verdict:
    """What all of them have said together."""
    # (A hold that would be refused now is no half of anything; users who are forgotten have had orders.)
    losses = (loss for loss in map(_loss, said.losses) if loss.branch not in HOLDS)
    return Verdict(frozenset(losses), (*said.wrong, *said.problems))


def _loss(said: Mapping[str, Any]) -> Loss:
    """``values``: transaction → what was lost of it, for each that shares the attempt."""
    return Loss(
        said["transaction"],
        said["attempt"],
        said["branch"],
        said["lost"],
        said["service"],
        frozenset(said["values"]),
    )
