"""One call makes a Flask app an HTTP face of the system: `api = install(app, title=…, checks=…)`.

Done here once, so that no service does it in its own way: the limits, the one shape of errors (inside
blueprints and outside), what a path may look like, the OpenAPI document and its page, health, and how JSON is
written.
"""

from __future__ import annotations

import http
from collections.abc import Callable, Mapping
from typing import Any

import flask
import flask_smorest
from werkzeug.routing import IntegerConverter, Map

from http_api.blueprint import Blueprint
from http_api.docs import register_docs
from http_api.headers import header_parameters
from http_api.health import health_blueprint
from http_api.problem_handlers import register_error_handlers, register_problem_pages
from http_api.problems import MEDIA_TYPE
from http_api.schemas import ProblemSchema
from http_api.strict_json import DEEPEST

MAX_BODY = 1024 * 1024
#: What holds for every call, and has no place in OpenAPI's own words.
_DESCRIPTION = f"""Bodies are JSON objects, declared as `application/json`, in UTF-8 (RFC 8259 as RFC 7493 narrows it):
no member twice, no unknown member, nested at most {DEEPEST} deep, at most {MAX_BODY:,} bytes, not compressed. Integers
are written without fraction or exponent. No text has NUL characters or half surrogate pairs. In a query each argument
is given once, and unknown ones are refused. Errors are problems as RFC 9457 describes them; `type` leads to a page
about each."""


def install(app: flask.Flask, *, title: str, checks: Mapping[str, Callable[[], None]]) -> Api:
    """Set the app up and return the `Api` on which the service registers its blueprints.

    Call it before any route with a converter is added: a rule keeps the converters and slashes of its birth.
    """
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config.update(
        API_TITLE=title,
        API_VERSION="1",
        OPENAPI_VERSION="3.0.3",  # what the bundled Swagger UI can read
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={"info": {"description": _DESCRIPTION}},
    )
    _write_json(app)
    _match_paths(app.url_map)
    register_problem_pages(app)
    register_docs(app, title=title)
    api = Api(app)
    api.register_blueprint(health_blueprint(checks))
    return api


class Api(flask_smorest.Api):  # type: ignore[misc]  # flask-smorest has no types
    """flask-smorest's Api whose errors, in fact and in the document, are our problems."""

    ERROR_SCHEMA = ProblemSchema

    def register_blueprint(self, blp: flask.Blueprint, **options: Any) -> None:
        """As flask-smorest does, but only a blueprint whose bodies are read by the strict parser."""
        if not isinstance(blp, Blueprint):
            raise TypeError(f"blueprint {blp.name!r} must be an http_api.blueprint.Blueprint")
        super().register_blueprint(blp, **options)

    def _register_error_handlers(self) -> None:
        register_error_handlers(self._app)

    def _register_responses(self) -> None:
        """Every error response that a blueprint names, and the default one of each view, is problem+json. With them the
        headers of requests, for which flask-smorest has no place."""
        content = {MEDIA_TYPE: {"schema": ProblemSchema}}
        for status in http.HTTPStatus:
            response: dict[str, Any] = {"description": status.phrase}
            if status >= 400:
                response["content"] = content
            self.spec.components.response(status.name, response, lazy=True)
        default = {"description": "Any error: a problem as RFC 9457 describes it", "content": content}
        self.spec.components.response(self.DEFAULT_ERROR_RESPONSE_NAME, default, lazy=True)
        for name, header in header_parameters().items():
            self.spec.components.parameter(name, "header", header, lazy=True)

    def _register_pagination_header(self) -> None:
        """None of flask-smorest's: lists here are paged by `Link` (`http_api.paging`)."""


def _write_json(app: flask.Flask) -> None:
    """Members in the order in which a schema names them, nothing between them, ASCII (so: any encoding)."""
    provider = app.json
    if not isinstance(provider, flask.json.provider.DefaultJSONProvider):
        raise TypeError("install expects Flask's own JSON provider")
    provider.sort_keys = False
    provider.compact = True


#: The largest number in a path: as many digits as a bigint holds whatever they are, so that the expression tells.
_LARGEST_ID = 10**18 - 1


class _Integer(IntegerConverter):
    """`<int:…>` as one path a row: ASCII digits, no leading zeros, at most `_LARGEST_ID`; else a 404. (What only the
    converter refuses, and not its expression, is a 405 where another method has the path.)"""

    regex = "(?:0|[1-9][0-9]{0,17})"

    def __init__(self, map: Map, *args: Any, **options: Any) -> None:
        options["max"] = min(options.get("max", _LARGEST_ID), _LARGEST_ID)
        super().__init__(map, *args, **options)


def _match_paths(url_map: Map) -> None:
    """No redirects: `/things/` is `/things`, and `/things//7` is nothing. A redirect may lose a body."""
    url_map.strict_slashes = False
    url_map.merge_slashes = False
    url_map.converters["int"] = _Integer
