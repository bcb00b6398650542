"""What the APIs say of themselves: ``/readyz`` of each, for people and for programs.

An answer is a JSON object with the member ``status``, "ready" when all is well, else ``detail`` in words; it may have
``checks``: name → "ok" or what is wrong.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

READY = "ready"
PATIENCE = 5.0


def readiness(apis: Mapping[str, str]) -> dict[str, str]:
    """Service → "ready", or what its checks say no to, in one line."""
    return {service: _of(url) for service, url in apis.items()}


def _of(url: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    try:
        connection.request("GET", "/readyz")
        said = json.load(connection.getresponse())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"does not answer: {type(error).__name__}"
    finally:
        connection.close()
    failed = {name: result for name, result in said.get("checks", {}).items() if result != "ok"}
    if not failed:
        return READY if said.get("status") == READY else str(said.get("detail"))
    return "; ".join(f"{name}: {result.removeprefix('failed: ')}" for name, result in failed.items())
