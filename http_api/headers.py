"""The request headers that calls have in common, as the OpenAPI document tells them."""

from __future__ import annotations

from typing import Any

from http_api import idempotency, prefer


def header_parameters() -> dict[str, dict[str, Any]]:
    """Name of the component → the parameter, for ``components.parameters``."""
    return {
        "IdempotencyKey": {
            "name": idempotency.HEADER,
            "description": (
                "The client's own name for this request: however often it is sent, it is done once, and answered the"
                f" same. One quoted string of ASCII of 1 to {idempotency.LONGEST_KEY} characters, or bare where it has"
                " no blanks, quotes, commas and semicolons. With another request it is refused (422)."
            ),
            "schema": {"type": "string"},
            "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
        },
        "Prefer": {
            "name": prefer.HEADER,
            "description": (
                f"`wait=N`: wait for the decision up to N seconds ({prefer.DEFAULT_WAIT:g} unless told otherwise, at"
                f" most {prefer.LONGEST_WAIT:g}). `respond-async`: do not wait (RFC 7240)."
            ),
            "schema": {"type": "string"},
            "example": "wait=10",
        },
    }
