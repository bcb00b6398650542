"""What the shop itself says is lost: ``python -m <service>_service verify --json``, of all services."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from celery_config.manifest import SERVICES
from embedded.shop import Shop

from . import verbs
from .losses import Loss

VERB = "verify"
NOTHING_LOST, LOSSES_NAMED, NOT_ANSWERED = 0, 3, 4


@dataclass(frozen=True)
class Verdict:
    """``losses``: named by any of the services. ``wrong``: what the verb did not do as it should, in words."""

    losses: frozenset[Loss]
    wrong: tuple[str, ...] = ()


def verified(shop: Shop) -> Verdict:
    """Ask every service."""
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        answers = list(pool.map(lambda service: verbs.run(shop, service, VERB, "--json"), SERVICES))
    verdicts = [
        read_verdict(service, answer.returncode, answer.stdout, answer.stderr)
        for service, answer in zip(SERVICES, answers, strict=True)
    ]
    return Verdict(
        frozenset(loss for verdict in verdicts for loss in verdict.losses),
        tuple(word for verdict in verdicts for word in verdict.wrong),
    )


def read_verdict(service: str, code: int, said: str, complained: str = "") -> Verdict:
    """What one service's answer means: its exit code, its JSON, and what it wrote beside that."""
    heads = f"{service}'s verify"
    if code not in (NOTHING_LOST, LOSSES_NAMED, NOT_ANSWERED):
        return Verdict(frozenset(), (f"{heads} ended with {code}: {complained.strip() or said.strip()}",))
    answer = json.loads(said)
    losses = frozenset(_loss(each) for each in answer["losses"])
    wrong = []
    if code == NOT_ANSWERED:
        wrong.append(f"{heads}: somebody did not answer: {answer['asked']}")
    elif bool(losses) != (code == LOSSES_NAMED):
        wrong.append(f"{heads} names {len(losses)} losses and ends with {code}")
    return Verdict(losses, tuple(wrong))


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
