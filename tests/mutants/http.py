"""Mutants of what an HTTP face promises about repeated requests."""

from __future__ import annotations

from .mutant import Mutant

HTTP = (
    Mutant(
        "an abort that another try may spare frees its key",
        "atomic_commit/journal/deciding.py",
        '            "frees_key": worth_another_try,\n',
        '            "frees_key": False,\n',
        "eager/test_said_twice.py::test_a_request_that_was_given_up_may_be_sent_again_with_its_key",
    ),
    Mutant(
        "a refusal keeps its key",
        "atomic_commit/votes.py",
        "KEEP_THEIR_KEY = frozenset({Cause.REFUSED, Cause.DEFECT})",
        "KEEP_THEIR_KEY = frozenset({Cause.DEFECT})",
        "eager/test_said_twice.py::test_a_refusal_is_repeated_too_even_when_the_reason_is_gone",
    ),
    Mutant(
        "a refreshed token is the same caller",
        "http_api/idempotency.py",
        """            return f"{claims.get('iss')} {claims['sub']}"\n""",
        "            return credentials\n",
        "unit/test_idempotency_key.py::test_a_refreshed_token_is_the_same_caller",
    ),
    Mutant(
        "what gunicorn answers by itself is a problem too",
        "http_api/gunicorn_conf.py",
        "gunicorn.util.write_error = _write_problem\n",
        "",
        "unit/test_gunicorn_problems.py::test_what_can_not_be_read_is_answered_with_a_problem",
    ),
)
