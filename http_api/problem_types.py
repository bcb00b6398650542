"""The kinds of problem that there are, out of which every error is one.

A *type* is named by the stable relative reference `/problems/<name>`, which is also a page of this very API that
explains it.

| what happened                                          | type                    | status |
|--------------------------------------------------------|-------------------------|--------|
| well-formed JSON or a query with wrong values           | validation              | 422    |
| a body that is not JSON (RFC 8259), or nested too deep  | malformed-json          | 400    |
| a header that breaks its own grammar                    | invalid-header          | 400    |
| no such thing, no such path                             | not-found               | 404    |
| a method that the path does not have (with `Allow`)     | method-not-allowed      | 405    |
| a rule of the business says no                          | refused                 | 409    |
| a body over the limit                                   | body-too-large          | 413    |
| a body that is not declared as JSON                     | unsupported-media-type  | 415    |
| an Idempotency-Key used again for another request       | idempotency-key-reused  | 422    |
| a defect of ours                                        | internal-error          | 500    |
| a row lock or a serialization conflict                  | conflict-busy           | 503    |
| too few threads are free in this process                | busy                    | 503    |
| given up after its retries                              | aborted                 | 503    |
| somebody has paused the application                     | paused                  | 503    |
| the database (or something else it needs) is away       | unavailable             | 503    |
| the database went away while it accepted or committed   | outcome-unknown         | 504    |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem: its name is part of the API and never changes; its words may."""

    name: str
    #: the HTTP status that it is answered with
    status: int
    #: the same for every problem of the type
    title: str
    #: for people who follow the type: what it means, and what to do
    explanation: str
    #: seconds for `Retry-After` (RFC 9110, 10.2.3) unless whoever raises it knows better; None: no such header
    retry_after: int | None = None

    @property
    def uri(self) -> str:
        return f"/problems/{self.name}"


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    kind.name: kind
    for kind in (
        ProblemType(
            "validation",
            422,
            "The request has wrong values",
            "The request could be read, but it has fields that are missing, unknown, of the wrong type or"
            " out of range. The member `errors` says where each is and what is wrong with it.",
        ),
        ProblemType(
            "malformed-json",
            400,
            "The body is not JSON",
            "The body could not be read as JSON (RFC 8259) in UTF-8. Numbers must be finite, member names"
            " unique, and the nesting shallow.",
        ),
        ProblemType(
            "unsupported-media-type",
            415,
            "The body is not declared as JSON",
            "Send the body as JSON, not compressed, with the header `Content-Type: application/json`.",
        ),
        ProblemType(
            "body-too-large",
            413,
            "The body is too large",
            "The body is larger than this API reads. Send less.",
        ),
        ProblemType(
            "invalid-header",
            400,
            "A request header cannot be read",
            "A header of the request breaks its own grammar; `errors` names it. Nothing was done.",
        ),
        ProblemType(
            "not-found",
            404,
            "There is no such thing",
            "Nothing is at this path: it never was, it is gone, or the path is misspelt.",
        ),
        ProblemType(
            "method-not-allowed",
            405,
            "The method is not allowed here",
            "The path exists but not for this method. The header `Allow` lists the methods that it has.",
        ),
        ProblemType(
            "refused",
            409,
            "A rule of the business says no",
            "The request was understood, and the present state of things does not allow it. Nothing was"
            " changed, anywhere. Repeating it unchanged helps only once that state has changed.",
        ),
        ProblemType(
            "conflict-busy",
            503,
            "Something else is at work on the same rows",
            "The rows are locked or were changed meanwhile. Nothing was changed by this request. Repeat it"
            " after `Retry-After`.",
            retry_after=1,
        ),
        ProblemType(
            "busy",
            503,
            "Too many requests at once",
            "This process serves as many requests as it can. Nothing was done by this one. Repeat it after"
            " `Retry-After`.",
            retry_after=1,
        ),
        ProblemType(
            "aborted",
            503,
            "Given up after its retries",
            "The transaction was tried, tried again, and given up for a cause other than a rule of the"
            " business. Nothing was changed, anywhere. A new request after `Retry-After` may well succeed.",
            retry_after=5,
        ),
        ProblemType(
            "paused",
            503,
            "The application is paused",
            "Somebody has paused it, for example for a backup; the detail says why, if they have. Nothing was accepted."
            " What was accepted before goes on, and so does what one service does by itself. Repeat the request after"
            " `Retry-After`.",
            retry_after=30,
        ),
        ProblemType(
            "idempotency-key-reused",
            422,
            "The Idempotency-Key belongs to another request",
            "This caller has used the key on this route with another body (IETF draft"
            " idempotency-key-header-07, section 2.6). Nothing was done. Use a new key for a new request.",
        ),
        ProblemType(
            "internal-error",
            500,
            "A defect of the service",
            "The service failed in a way it should not have, and has logged it. Where a `transaction` is named, nothing"
            " was changed, anywhere, and no repetition will help before its operator has mended what is wrong; they"
            " find the cause by its id.",
        ),
        ProblemType(
            "unavailable",
            503,
            "The service cannot answer now",
            "Something the service needs, mostly its database, does not answer. Repeat after `Retry-After`;"
            " with an Idempotency-Key if it changes something, since perhaps only the answer was lost.",
            retry_after=5,
        ),
        ProblemType(
            "outcome-unknown",
            504,
            "Nobody knows yet whether it was accepted",
            "The database went away while it accepted the request, or committed a change that needs no transaction of"
            " several services. If a transaction was accepted, its URL"
            " (`Location`) answers with it as soon as that is known, at the latest when the database and those"
            " standbys that it waits for are back. A 404 there means: not known to be accepted, as yet; it is no"
            " proof that it never will be. With an Idempotency-Key it is safe to repeat the request at once. Without a"
            " URL and without a key, look what has become of the change.",
            retry_after=5,
        ),
    )
}
