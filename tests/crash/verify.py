"""What the services themselves name as lost: ``python -m <service> verify --json``, read in one place."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from celery_config.manifest import SERVICES

from .replication import ReplicatedShop

#: Exit codes: nothing is lost; losses are named; somebody who was asked did not answer.
_NOTHING, _LOSSES, _NO_ANSWER = 0, 3, 4
_WITHIN = 120.0


@dataclass
class Said:
    """`losses` as the services print them. `wrong`: answers that are none. `problems`: why nobody could be asked."""

    losses: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def said_by_all(shop: ReplicatedShop, services: Sequence[str] = SERVICES) -> Said:
    """What these services name, together."""
    said = Said()
    with ThreadPoolExecutor(len(services)) as pool:
        answers = pool.map(lambda one: shop.operate(one, "verify", "--json", timeout=_WITHIN), services)
        for service, done in zip(services, answers, strict=True):
            read(service, done, said)
    return said


def read(service: str, done: subprocess.CompletedProcess[str], said: Said) -> None:
    """Add what one service printed: an object with ``losses`` and ``asked``. One without the verb names nothing."""
    if done.returncode == 2 and "invalid choice" in done.stderr:
        said.problems.append(f"{service} knows no verb verify")
        return
    try:
        answer = json.loads(done.stdout)
        losses = [{**one, "transaction": str(one["transaction"]), "lost": str(one["lost"])} for one in answer["losses"]]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        said.wrong.append(f"verify of {service} ended with {done.returncode} and said no losses: {last}")
        return
    said.losses += losses
    wanted = _LOSSES if losses else _NOTHING
    if done.returncode == _NO_ANSWER:
        said.wrong.append(f"verify of {service}: somebody did not answer: {answer.get('asked')}")
    elif done.returncode != wanted:
        said.wrong.append(f"verify of {service} ended with {done.returncode}, and {len(losses)} losses")
