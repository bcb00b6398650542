"""Mutants of what an HTTP face promises about repeated requests."""

from __future__ import annotations

from .mutant import Mutant

_RULES = "eager/http_api/test_rules_in_the_document.py::"

HTTP = (
    Mutant(
        "an abort that another try may spare frees its key",
        "engine/src/atomic_commit/journal/deciding.py",
        '            "frees_key": worth_another_try,\n',
        '            "frees_key": False,\n',
        "eager/http_api/test_said_twice.py::test_a_request_that_was_given_up_may_be_sent_again_with_its_key",
    ),
    Mutant(
        "a refusal keeps its key",
        "engine/src/atomic_commit/votes.py",
        "KEEP_THEIR_KEY = frozenset({Cause.REFUSED, Cause.DEFECT})",
        "KEEP_THEIR_KEY = frozenset({Cause.DEFECT})",
        "eager/http_api/test_said_twice.py::test_a_refusal_is_repeated_too_even_when_the_reason_is_gone",
    ),
    Mutant(
        "a refreshed token is the same caller",
        "http_api/idempotency.py",
        """            return f"{claims.get('iss')} {claims['sub']}"\n""",
        "            return credentials\n",
        "unit/http_api/test_idempotency_key.py::test_a_refreshed_token_is_the_same_caller",
    ),
    Mutant(
        "what gunicorn answers by itself is a problem too",
        "http_api/gunicorn_conf.py",
        "gunicorn.util.write_error = _write_problem\n",
        "",
        "unit/http_api/test_gunicorn_problems.py::test_what_can_not_be_read_is_answered_with_a_problem",
    ),
    Mutant(
        "a request that has no path for the log is answered all the same",
        "http_api/gunicorn_conf.py",
        'environ.get("PATH_INFO")',
        'environ["PATH_INFO"]',
        "unit/http_api/test_gunicorn_problems.py::test_what_can_not_be_read_is_answered_with_a_problem[two-lengths]",
    ),
    Mutant(
        "a request does not take forever to come in",
        "http_api/gunicorn_conf.py",
        "gunicorn.http.parser.Parser.__next__ = _next_request_in_time\n"
        "gunicorn.http.unreader.SocketUnreader.chunk = _read_in_time\n",
        "",
        "unit/http_api/test_gunicorn_problems.py::test_what_can_not_be_read_is_answered_with_a_problem[half-a-header]",
    ),
    Mutant(
        "a byte now and then does not buy more time",
        "http_api/gunicorn_conf.py",
        "left = max(unreader.until - time.monotonic(), 0.001)",
        "left = REQUEST_WITHIN",
        "unit/http_api/test_gunicorn_problems.py::test_who_sends_a_byte_now_and_then_does_not_get_more_time",
    ),
    Mutant(
        "the document tells what a text may look like",
        "http_api/schemas.py",
        '        options["metadata"] = said | options.get("metadata", {})\n        # Also',
        "        # Also",
        _RULES + "test_every_rule_of_a_body_is_in_the_document",
    ),
    Mutant(
        "the pattern that is told is the one that is checked",
        "http_api/schemas.py",
        r'_BLANKS = r"\u0020\u00a0',
        r'_BLANKS = r"\u0020',
        _RULES + "test_the_pattern_of_a_text_is_what_the_code_checks",
    ),
    Mutant(
        "the document tells that each product may have one line",
        "orders_service/schemas.py",
        '"uniqueItems": True, ',
        "",
        _RULES + "test_every_rule_of_a_body_is_in_the_document",
    ),
    Mutant(
        "the document tells which calls take an Idempotency-Key",
        "http_api/blueprint.py",
        '    headers = ["IdempotencyKey", ',
        "    headers = [",
        _RULES + "test_headers_are_named_where_they_count",
    ),
    Mutant(
        "a body is held to what the document says",
        "products_service/schemas.py",
        "    delta = StrictInteger(min=-INTEGER_MAX, max=INTEGER_MAX, required=True)",
        '    delta = fields.Integer(required=True, metadata={"minimum": -INTEGER_MAX, "maximum": INTEGER_MAX})',
        _RULES + "test_a_body_is_held_to_what_the_document_says",
    ),
)
