"""A word about messages that a worker drops as expired: where its clock is wrong, that is all of them."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from celery.signals import task_revoked

log = logging.getLogger(__name__)

#: Seconds between two words about it.
_PAUSE = 60.0


class Expired:
    """Counts them, and says so at the first and then once a minute."""

    def __init__(self) -> None:
        self._dropped, self._said_at = 0, float("-inf")

    def dropped(self, expired_at: str | None) -> None:
        """A message was dropped that was good until then (as Celery writes it)."""
        self._dropped += 1
        if time.monotonic() - self._said_at < _PAUSE:
            return
        self._said_at = time.monotonic()
        log.warning(
            "%d messages were dropped as expired, this one %s: unless the shop was away for so long, this machine's"
            " clock is wrong, or that of the coordinator's database (NTP)",
            self._dropped,
            _ago(expired_at),
        )


def _ago(expired_at: str | None) -> str:
    try:
        moment = datetime.fromisoformat(str(expired_at))
    except ValueError:
        return "at an unknown time"
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{(datetime.now(UTC) - moment).total_seconds():.0f} s ago by this clock"


def tell_of_the_expired() -> None:
    """In this worker, from now on."""
    expired_here = Expired()

    @task_revoked.connect(weak=False)
    def note(request: Any, expired: bool, **_: Any) -> None:
        if expired:
            expired_here.dropped(request.expires)
