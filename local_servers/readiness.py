"""What the APIs say of themselves: ``/readyz`` of each, for people and for programs.

An answer is a JSON object with the member ``status``, "ready" when all is well, else ``detail`` in words; it may have
``checks``: name → "ok" or what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping

from local_servers.json_http import CallFailed, call

READY = "ready"
PATIENCE = 5.0


def readiness(apis: Mapping[str, str]) -> dict[str, str]:
    """Service → "ready", or what its checks say no to, in one line."""
    return {service: _of(url) for service, url in apis.items()}


def _of(url: str) -> str:
    try:
        said = call("GET", f"{url}/readyz", patience=PATIENCE).body
    except CallFailed as error:
        return f"does not answer: {type(error.__cause__).__name__}"
    failed = {name: result for name, result in said.get("checks", {}).items() if result != "ok"}
    if not failed:
        return READY if said.get("status") == READY else str(said.get("detail"))
    return "; ".join(f"{name}: {result.removeprefix('failed: ')}" for name, result in failed.items())
