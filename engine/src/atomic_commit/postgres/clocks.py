"""Whether this process' clock agrees with its database's.

The protocol goes by the databases' clocks, but how old a message is its receiver judges by its own. One that is far
ahead drops every message as expired; one that is far behind acts on messages that should be dead, even where the
tombstone that would refuse them is gone already. Hours do no harm.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine, text

from atomic_commit.errors import Conflict, Lost
from atomic_commit.limits import Limits
from atomic_commit.postgres.database import autocommit, translated_errors

log = logging.getLogger(__name__)

#: Seconds of difference that are worth a word.
_WORTH_A_WORD = 300.0
#: Seconds between two looks.
_EVERY = 120.0
_WHAT_TO_DO = "set the clocks of both machines right (NTP)"


class OwnClock:
    """This process' clock, compared with that of the service's database."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._reads = autocommit(engine)
        self.farthest_ahead, self.farthest_behind = limits.farthest_ahead, limits.farthest_behind
        self._unfit: str | None = None
        self._worth_a_word = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> str | None:
        """Compare. Returns why this process can't do its work by its clock, or None where it can.

        A difference that does no harm is logged once, a harmful one at every look. Raises Lost or Conflict where the
        database can't be asked.
        """
        ahead = self._ahead()
        self._unfit = self._words(ahead) if not -self.farthest_behind < ahead < self.farthest_ahead else None
        worth_a_word = abs(ahead) > _WORTH_A_WORD
        if self._unfit:
            log.critical("%s", self._unfit)
        elif worth_a_word and not self._worth_a_word:
            log.warning("this clock is %s its database's: %s", _apart(ahead), _WHAT_TO_DO)
        elif self._worth_a_word and not worth_a_word:
            log.info("this clock agrees with its database's again")
        self._worth_a_word = worth_a_word
        return self._unfit

    def is_well(self) -> bool:
        """Whether the last look found nothing harmful; True before the first."""
        return self._unfit is None

    def start(self) -> None:
        """Look now and every two minutes, in a thread of its own, until ``stop``."""
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except (Lost, Conflict):  # recovery says so, and the next look is soon
                pass
            except Exception:
                log.exception("the database can't be asked what time it is")
            self._stop.wait(_EVERY)

    def _ahead(self) -> float:
        """Seconds. By the middle of the question, so that a slow answer is not taken for a wrong clock."""
        with translated_errors(), self._reads.connect() as connection:
            before = time.time()
            at = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            return (before + time.time()) / 2 - at

    def _words(self, ahead: float) -> str:
        harm = "drops messages as expired" if ahead > 0 else "acts on messages that are long dead"
        return f"this clock is {_apart(ahead)} its database's, so that a worker {harm}: {_WHAT_TO_DO}"


def _apart(ahead: float) -> str:
    """``2 h 5 min ahead of``"""
    days, rest = divmod(int(abs(ahead)), 86400)
    hours, minutes = rest // 3600, rest % 3600 // 60
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * (not days)
    return f"{' '.join(parts)} {'ahead of' if ahead > 0 else 'behind'}"
