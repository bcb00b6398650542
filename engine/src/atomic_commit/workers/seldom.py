"""Saying a thing once, however often it happens."""

from __future__ import annotations

import time

#: Seconds in which the same is said once.
_PAUSE = 60.0
#: Different things that are told apart; beyond that the oldest are forgotten.
_MOST = 256


class Seldom:
    """Whether a thing is to be said now: the first time, and then once a minute."""

    def __init__(self) -> None:
        self._said: dict[object, float] = {}

    def now(self, what: object) -> bool:
        """True at most once a minute for the same `what`. May be called from several threads; one line too many is no
        harm."""
        at = time.monotonic()
        if at - self._said.get(what, -_PAUSE) < _PAUSE:
            return False
        self._said[what] = at
        if len(self._said) > _MOST:
            self._said = dict(list(self._said.items())[-_MOST // 2 :])
        return True
