"""Results in the result backend that are not what the branch's task has stored.

A forged SUCCESS that names the branch's right gid and database is not here: it is the proof itself, and for that the
result backend is trusted (README, "What is not promised"). Everything less than that must not lead to a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from atomic_commit.errors import Conflict, Refused
from atomic_commit.names import Gid
from celery_config import create_celery
from tests.installation import INSTALLATION

_ELSEWHERE = UUID(int=0)


def _proof_of(gid: Gid) -> dict[str, object]:
    return {"prepared": {str(gid): str(_ELSEWHERE)}, "members": {}}


#: name → gid of the branch → (status, result) that is stored in the place of its own
FORGERIES: dict[str, Callable[[Gid], tuple[str, object]]] = {
    "SUCCESS without proof": lambda gid: ("SUCCESS", {"prepared": {}, "members": {}}),
    "SUCCESS, proof of another attempt": lambda gid: ("SUCCESS", _proof_of(replace(gid, attempt=gid.attempt + 1))),
    "SUCCESS, proof of another branch": lambda gid: ("SUCCESS", _proof_of(replace(gid, branch="orders.another"))),
    "SUCCESS, proof of another transaction": lambda gid: ("SUCCESS", _proof_of(replace(gid, transaction=_ELSEWHERE))),
    "SUCCESS, proof of another database": lambda gid: ("SUCCESS", _proof_of(gid)),
    "SUCCESS, a word": lambda gid: ("SUCCESS", str(gid)),
    "SUCCESS, a number for the proof": lambda gid: ("SUCCESS", {"prepared": 1, "members": {}}),
    "STARTED": lambda gid: ("STARTED", None),
    "FAILURE, unexpected": lambda gid: ("FAILURE", ValueError("forged")),
    "FAILURE, conflict": lambda gid: ("FAILURE", Conflict("forged")),
    "FAILURE, refused": lambda gid: ("FAILURE", Refused("forged", "It is forged.")),
    "REVOKED": lambda gid: ("REVOKED", TaskRevokedError("forged")),
}
#: These too: no result at all, and one that is not JSON.
LOST, UNREADABLE = "lost", "unreadable"


class Forger:
    """Writes into the result backend, past Celery's rule that a SUCCESS is not overwritten."""

    def __init__(self, broker_url: str, result_backend_url: str) -> None:
        self._celery = create_celery("forger", INSTALLATION)
        self._celery.conf.update(broker_url=broker_url, result_backend=result_backend_url)

    def close(self) -> None:
        self._celery.close()

    def forge(self, gid: Gid, forgery: str) -> None:
        """Put a forged result in the place of the one that the branch's task has stored."""
        backend = self._celery.backend
        key = backend.get_key_for_task(str(gid))
        assert backend.client.delete(key) == 1, f"there is no result of {gid} to be replaced"
        if forgery == UNREADABLE:
            backend.client.set(key, b"{")
        elif forgery != LOST:
            status, result = FORGERIES[forgery](gid)
            backend.store_result(str(gid), result, status)

    def status_of(self, gid: Gid) -> str:
        """The status that is stored now."""
        return str(AsyncResult(str(gid), app=self._celery).status)
