"""A few words between all services, each within milliseconds: by the result backend.

A queue will not do where services wait for each other's next step: all threads of a worker may be waiting for the very
thing that the next message would end. So each service writes its last word under a name of its own, as the state of a
task that there is not, and reads those of the others until it hears what it waits for. Words are not kept (they expire
as results do), and who hears nothing in time goes on without: nothing may rest on them alone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from celery import Celery

#: Seconds between two looks, each of which reads small keys: at first, and at most, after so many times as long.
_EAGER, _CALM, _SHARE = 0.002, 0.01, 8


class Conversation:
    """What is said in one conversation, whose `name` nobody else uses."""

    def __init__(self, celery: Celery, name: str) -> None:
        self._backend, self._name = celery.backend, name

    def say(self, who: str, word: str) -> None:
        """From now on `word` is the last that `who` has said. Raises what the result backend's client raises."""
        self._backend.store_result(self._id(who), None, word)

    def heard(self, who: str) -> str:
        """The last word of `who`. Before the first it is one that nobody says."""
        return str(self._backend.get_task_meta(self._id(who), cache=False)["status"])

    def wait(self, who: Iterable[str], words: Collection[str], within: float) -> dict[str, str]:
        """The last word of each, once it is one of `words` for all of them, or after `within` seconds."""
        began = time.monotonic()
        said = dict.fromkeys(who, "")
        while True:
            said |= {one: self.heard(one) for one, word in said.items() if word not in words}
            waited = time.monotonic() - began
            if all(word in words for word in said.values()) or waited >= within:
                return said
            time.sleep(min(max(_EAGER, waited / _SHARE), _CALM))

    def _id(self, who: str) -> str:
        return f"{self._name}.{who}"
