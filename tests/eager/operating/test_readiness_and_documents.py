"""Whether a service would serve, and what it says about itself: readiness, the OpenAPI document, its page, problems."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask
import pytest
from eager_postgres import fresh_database, running_postgres
from eager_shop import Answer, EagerShop, eager_celery
from openapi_spec_validator import validate

from atomic_commit import Limits
from celery_config.manifest import SERVICES
from http_api.problem_types import PROBLEM_TYPES
from local_servers.postgres import Postgres
from local_servers.settings import free_port
from service_roles import assembly

each_service = pytest.mark.parametrize("service", SERVICES)


@contextmanager
def app_on(service: str, url: str) -> Iterator[flask.Flask]:
    url = url.replace("postgresql:", "postgresql+psycopg2:")
    app = import_module(f"{service}_service").create_app(
        url=url, celery=eager_celery(), limits=Limits(lock_timeout=0.2)
    )
    yield app
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()


def ask(app: flask.Flask, path: str) -> Answer:
    return Answer(f"GET {path}", app.test_client().get(path))


# ---- readiness


@each_service
def test_a_service_whose_database_is_not_migrated_is_not_ready_and_says_what_to_run(
    postgres: Postgres, service: str
) -> None:
    with fresh_database(postgres, f"{service}_bare") as url, app_on(service, url) as app:
        answer = ask(app, "/readyz")
        problem = answer.problem(503, "unavailable")
        assert problem["checks"]["database"] == "ok", answer
        assert f"python -m {service}_service migrate" in problem["checks"]["migrated"], answer
        assert ask(app, "/livez").expect(200).json == {"status": "alive"}


@each_service
def test_a_service_whose_database_is_away_is_alive_but_not_ready(service: str) -> None:
    with app_on(service, f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nowhere") as app:
        answer = ask(app, "/readyz")
        problem = answer.problem(503, "unavailable")
        assert problem["checks"]["database"].startswith("failed"), answer
        assert "secret" not in answer.response.get_data(as_text=True)
        assert ask(app, "/livez").expect(200).json == {"status": "alive"}


@each_service
def test_a_request_that_needs_a_database_that_is_away_is_answered_with_503(service: str) -> None:
    with app_on(service, f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nowhere") as app:
        for path in (
            f"/{service}",
            f"/{service}/1",
            "/transactions",
            f"/transactions/{'0' * 8}-0000-4000-8000-{'0' * 12}",
        ):
            ask(app, path).problem(503, "unavailable")


def test_accepting_a_transaction_without_a_database_is_answered_with_503() -> None:
    with app_on("users", f"postgresql://nobody:secret@127.0.0.1:{free_port()}/nowhere") as app:
        for headers in ({}, {"Idempotency-Key": "k"}):
            answer = Answer("DELETE /users/1", app.test_client().delete("/users/1", headers=headers))
            answer.problem(503, "unavailable")


def test_a_service_whose_database_cannot_prepare_is_not_ready_and_says_what_to_set(tmp_path: Path) -> None:
    with (
        running_postgres(tmp_path, {"POSTGRES_MAX_PREPARED_TRANSACTIONS": "0"}) as postgres,
        app_on("users", postgres.admin_url("users")) as app,
    ):
        answer = ask(app, "/readyz")
        checks = answer.problem(503, "unavailable")["checks"]
        assert "max_prepared_transactions" in checks["able_to_prepare"], answer


def test_a_service_whose_time_limits_got_lost_on_the_way_is_not_ready_and_says_which(
    shop: EagerShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that ignores what a connection asks for."""
    asked = assembly.engine_options

    def ignored(limits: Limits, pool_size: int) -> dict[str, Any]:
        options = asked(limits, pool_size)
        return {**options, "connect_args": {**options["connect_args"], "options": "-c statement_timeout=1000"}}

    monkeypatch.setattr(assembly, "engine_options", ignored)
    with app_on("users", shop.engines["users"].url.render_as_string(hide_password=False)) as app:
        said = ask(app, "/readyz").problem(503, "unavailable")["checks"]["bounded_waits"]
    assert said.startswith("failed: lock_timeout, idle_in_transaction_session_timeout got lost")


# ---- the OpenAPI document


@each_service
def test_the_openapi_document_is_valid(shop: EagerShop, service: str) -> None:
    validate(shop.get(service, "/openapi.json"))


#: The calls of the design's table, and the answers that each must promise.
CALLS = {
    "users": {
        "POST /users": {"201", "409"},
        "GET /users": {"200"},
        "GET /users/{user_id}": {"200", "404"},
        "PATCH /users/{user_id}": {"200", "404", "409"},
        "DELETE /users/{user_id}": {"200", "202", "404", "409", "503"},
    },
    "products": {
        "POST /products": {"201", "409"},
        "GET /products": {"200"},
        "GET /products/{product_id}": {"200", "404"},
        "PATCH /products/{product_id}": {"200", "404", "409"},
        "POST /products/{product_id}/stock": {"200", "404", "409"},
    },
    "orders": {
        "POST /orders": {"201", "202", "409", "503"},
        "GET /orders": {"200"},
        "GET /orders/{order_id}": {"200", "404"},
        "POST /orders/{order_id}/fulfil": {"200", "404", "409"},
        "POST /orders/{order_id}/cancel": {"200", "202", "404", "409", "503"},
    },
}
EVERYWHERE = {
    "GET /transactions": {"200"},
    "GET /transactions/{transaction_id}": {"200", "404"},
    "GET /livez": {"200", "503"},
    "GET /readyz": {"200", "503"},
}


@each_service
def test_the_openapi_document_tells_every_call_and_its_answers(shop: EagerShop, service: str) -> None:
    document = shop.get(service, "/openapi.json")
    told = {
        f"{method.upper()} {path}": set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    }
    expected = {**CALLS[service], **EVERYWHERE}
    assert told.keys() == expected.keys()
    missing = {call: answers - told[call] for call, answers in expected.items() if answers - told[call]}
    assert not missing


@each_service
def test_every_error_in_the_openapi_document_is_a_problem(shop: EagerShop, service: str) -> None:
    document = shop.get(service, "/openapi.json")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items() if method != "parameters" else ():
                if status in ("default", "409", "404", "422", "503"):
                    name = response["$ref"].rpartition("/")[2]
                    content = document["components"]["responses"][name]["content"]
                    assert set(content) == {"application/problem+json"}, (method, path, status)


@each_service
def test_every_path_that_flask_serves_is_in_the_document_or_is_a_page_about_it(shop: EagerShop, service: str) -> None:
    documented = {re.sub(r"{[^}]+}", "*", path) for path in shop.get(service, "/openapi.json")["paths"]}
    served = {re.sub(r"<[^>]+>", "*", rule.rule) for rule in shop.apps[service].url_map.iter_rules()}
    pages = {"/", "/docs", "/docs/start.js", "/docs/assets/*", "/favicon.ico", "/openapi.json"}
    assert served - documented - pages - {"/problems", "/problems/*", "/static/*"} == set()


# ---- the page


@each_service
def test_the_page_and_all_that_it_loads_come_from_the_service_itself(shop: EagerShop, service: str) -> None:
    page = shop.call(service, "GET", "/docs").expect(200)
    html = page.response.get_data(as_text=True)
    assert page.response.mimetype == "text/html"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(loaded) >= 3, html
    for address in loaded:
        assert not urlsplit(address).netloc, f"{address} is somewhere else"
        asset = shop.call(service, "GET", address).expect(200)
        assert asset.response.data, address
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert f"{service.capitalize()} service" in html


def test_the_way_to_the_page_is_short(shop: EagerShop) -> None:
    assert shop.call("users", "GET", "/").expect(302).headers["Location"] == "/docs"
    assert shop.call("users", "GET", "/favicon.ico").expect(200).response.mimetype == "image/png"


@pytest.mark.parametrize("name", ["../__init__.py", "index.html", "%2e%2e/x", "swagger-ui.css/x", ""])
def test_nothing_but_the_assets_is_served(shop: EagerShop, name: str) -> None:
    shop.call("users", "GET", f"/docs/assets/{name}").problem(404, "not-found")


# ---- the problems


@each_service
def test_every_type_of_problem_is_explained_where_its_type_points_to(shop: EagerShop, service: str) -> None:
    listed = shop.get(service, "/problems")
    assert {problem["type"] for problem in listed} == {kind.uri for kind in PROBLEM_TYPES.values()}
    for problem in listed:
        assert shop.get(service, problem["type"]) == problem
        assert problem["explanation"]
    shop.call(service, "GET", "/problems/unheard-of").problem(404, "not-found")
