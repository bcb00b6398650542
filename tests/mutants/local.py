"""Mutants of what a service does by itself, once for a key."""

from __future__ import annotations

from .mutant import Mutant

LOCAL = (
    Mutant(
        "a local call is answered before its key is looked for",
        "http_api/local.py",
        "            answer = _answered_before(db, key)\n",
        "            answer = None\n",
        "eager/http_api/test_local_calls.py::test_a_key_sent_again_is_answered_the_same_and_nothing_is_done",
    ),
    Mutant(
        "a local call's key is another request's",
        "engine/src/atomic_commit/journal/local_calls.py",
        "        if before.fingerprint != key.fingerprint:\n",
        "        if False:\n",
        "eager/http_api/test_local_calls.py::test_a_key_is_one_route_s_and_one_request_s",
    ),
    Mutant(
        "a local call's answer is kept in the transaction that does the work",
        "http_api/local.py",
        "                _keep(db, key, answer)\n                _commit(db, key)\n",
        "                _commit(db, key)\n                _keep(db, key, answer)\n                db.session.commit()\n",
        "eager/http_api/test_local_calls.py::test_what_may_be_done_is_never_said_not_to_be",
    ),
    Mutant(
        "a local call whose commit is not answered is not said to have changed nothing",
        "http_api/local.py",
        "        if is_lost(error):\n",
        "        if False:\n",
        "eager/http_api/test_local_calls.py::test_what_may_be_done_is_never_said_not_to_be",
    ),
    Mutant(
        "what can't be repeated without harm is not told to be",
        "http_api/local.py",
        '        del problem.headers["Retry-After"]  # what repeats by itself would do it twice\n',
        "        pass\n",
        "eager/http_api/test_local_calls.py::test_what_may_be_done_is_never_said_not_to_be",
    ),
    Mutant(
        "a local call's replay waits until what it tells is confirmed",
        "engine/src/atomic_commit/journal/local_calls.py",
        "        self._confirmation.wait()  # a row that is there may be one whose commit was not confirmed\n",
        "",
        "eager/http_api/test_local_calls.py::test_a_replay_is_not_told_before_what_it_tells_is_known_to_stay",
    ),
    Mutant(
        "local calls are removed when they are old",
        "engine/src/atomic_commit/journal/retention.py",
        "            (_REMOVE_LOCAL_CALLS, limits.keep_transactions),\n",
        "",
        "eager/operating/test_retention.py::test_a_local_call_is_kept_as_long_as_a_settled_transaction",
    ),
)
