"""What the coordinator of a branch says about its transaction. The gid names it; it is asked in this service's own
journal, or by the ``/transactions/{id}`` of the services whose URLs are given."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit.journal import records
from atomic_commit.names import Gid

#: Seconds to wait for one service.
_PATIENCE = 3.0


def said_by(engine: Engine, urls: Sequence[str], gid: Gid) -> str:
    """One line about the transaction of a branch that is prepared: from whoever knows it, else who was asked."""
    transaction = gid.transaction
    with Session(engine) as session:
        record = records.read(session, transaction)
    if record:
        decision = str(record.state) if record.decided else None
        return f"this service: {_words(decision, record.quarantined, record.settled_at is not None)}"
    silent = []
    for url in urls:
        try:
            said = _ask(f"{url.rstrip('/')}/transactions/{transaction}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            silent.append(f"{url} does not say ({error})")
            continue
        if said:
            return f"{url}: {_words(said['decision'], said['state'] == 'quarantined', said['settled'])}"
    if silent:
        return "; ".join(silent)
    return f"UNKNOWN to {', '.join(urls)}" if urls else f"ask {gid.coordinator} for /transactions/{transaction}"


def _ask(url: str) -> dict[str, Any] | None:
    """The transaction, or None where the service coordinates none of that id."""
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404 and error.headers.get_content_type() == "application/problem+json":
                return None
        raise
    if not isinstance(said, dict) or not said.keys() >= {"decision", "state", "settled"}:
        raise ValueError("it does not answer as a service of the shop")
    return said


def _words(decision: str | None, quarantined: bool, settled: bool) -> str:
    if settled:
        return f"SETTLED as {decision}, and yet it is prepared"
    words = f"{decision}, to be told" if decision else "undecided"
    return f"{words}; QUARANTINED" if quarantined else words
