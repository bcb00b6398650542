"""The services' command line, as a person at the servers types it."""

from __future__ import annotations

import subprocess
import sys

from embedded.services import Surroundings
from embedded.settings import ROOT
from embedded.shop import INSTALLATION, Shop

ENDS_WITHIN = 60.0


def run(shop: Shop, service: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m <service>_service <words>``, with the service's own environment."""
    variables = {**INSTALLATION, **shop.environment_of(f"{service}-{words[0]}", service)}
    return subprocess.run(
        [sys.executable, "-m", f"{service}_service", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=Surroundings(ROOT, variables).environment,
        timeout=ENDS_WITHIN,
    )
