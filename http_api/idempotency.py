"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): one request, however often it is sent.

The draft's form is a Structured Field String (RFC 8941, section 3.3.3):
`"8e03978e-40d5-43dd-bc93-6894a57f9324"`. The bare form, which most clients in use send, is taken too: visible
ASCII without blanks, quotes, commas and semicolons. `"abc"` and `abc` are the same key.

A key is unique to a caller and a route. Sent again with the same request it joins or replays; with another
(another path, another body) it is refused: that is what the fingerprint is for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence

import flask

from atomic_commit import IdempotencyKey
from http_api.problems import header_problem

HEADER = "Idempotency-Key"
LONGEST_KEY = 255

_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # sf-string: DQUOTE *( unescaped / \" / \\ ) DQUOTE
_BARE = re.compile(r"[!#-+\--:<-~]+")  # VCHAR without " , ;


def from_request(request: flask.Request, body: object = None) -> IdempotencyKey | None:
    """The request's key, or None when it has none. `body` is the validated body: its spelling does not count.

    The route is the rule (`DELETE /things/<int:thing_id>`), the fingerprint is of the path itself: the same
    key for another thing is a misuse, not a second request.
    """
    key = parse_key(request.headers.getlist(HEADER))
    if key is None:
        return None
    rule = request.url_rule.rule if request.url_rule else request.path
    path = request.path.rstrip("/")
    return IdempotencyKey(caller(request), f"{request.method} {rule}", key, fingerprint(request.method, path, body))


def parse_key(values: Sequence[str]) -> str | None:
    """The key from all `Idempotency-Key` headers of a request; raises `ProblemError` invalid-header (400).

    A server may join repeated headers with a comma, and neither form survives that.
    """
    if not values:
        return None
    if len(values) > 1:
        raise header_problem(HEADER, "It must be sent once.")
    text = values[0].strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is None and not _BARE.fullmatch(text):
        raise header_problem(HEADER, 'It must be one quoted string of ASCII, as in "8e03978e-40d5".')
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not 1 <= len(key) <= LONGEST_KEY:
        raise header_problem(HEADER, f"It must have 1 to {LONGEST_KEY} characters.")
    return key


def fingerprint(method: str, route: str, body: object) -> str:
    """SHA-256 of the request as canonical JSON: members sorted, nothing between them, ASCII only.

    Values that JSON does not have (a UUID, a timestamp) count as their text.
    """
    canonical = json.dumps([method, route, body], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def caller(request: flask.Request) -> str:
    """Who asks: a short hash of whom the credentials name, never they; without credentials everyone is one caller.

    A token that was refreshed, or a password that was changed, is still the same caller's. Nobody verifies them here: a
    caller only keeps the keys of different clients apart, and whoever gives the same key with the same request may see
    its answer.
    """
    credentials = request.headers.get("Authorization")
    if not credentials:
        return "anonymous"
    return hashlib.sha256(_named_by(credentials).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _named_by(credentials: str) -> str:
    """Whom the credentials name: the subject of a JWT (RFC 7519) and who issued it, the user of Basic (RFC 7617); else
    nobody is named, and the credentials stand for themselves."""
    scheme, _, rest = credentials.partition(" ")
    try:
        if scheme.lower() == "bearer" and rest.count(".") == 2:
            claims = json.loads(_decoded(rest.split(".")[1]))
            return f"{claims.get('iss')} {claims['sub']}"
        if scheme.lower() == "basic":
            return _decoded(rest).partition(":")[0]
    except (ValueError, KeyError, AttributeError):  # not what it looks like
        pass
    return credentials


def _decoded(text: str) -> str:
    return base64.urlsafe_b64decode(text.strip() + "=" * (-len(text.strip()) % 4)).decode()
