"""One PostgreSQL for all tests of this folder, one shop on it, and what must hold after each of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from eager_command import Command, Said
from eager_postgres import database_url, running_postgres
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.wire.messages import Messages
from celery_config.manifest import SERVICES
from local_servers.postgres import Postgres
from service_roles import main as service_roles_main
from service_roles.migrate import upgrade

#: Without a word about order the planner reads rows as they lie or by some index, as it likes. Here it has no choice.
AS_THEY_LIE = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "leaves(*what): the test ends with 'undecided' or 'unsettled' transactions, something 'prepared', or "
        "'unbalanced' stock, and means to",
    )
    config.addinivalue_line("markers", "loud: the test makes something happen that must be logged as an error")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The server of all tests here."""
    with running_postgres(tmp_path_factory.mktemp("postgres"), {}) as server:
        yield server


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> Postgres:
    """Every database at its newest version, by the command that every installation uses."""
    with pytest.MonkeyPatch.context() as patch:
        for service in SERVICES:
            patch.setenv("DATABASE_URL", database_url(postgres, service))
            assert upgrade(f"{service}_service") == 0
    return postgres


@pytest.fixture(scope="session")
def the_shop(migrated: Postgres) -> Iterator[EagerShop]:
    shop = EagerShop(
        {service: database_url(migrated, service) for service in SERVICES},
        {service: migrated.admin_url(service) for service in SERVICES},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Messages, "_send", lambda messages, signature: shop.post.carry(messages, signature))
        yield shop
    shop.close()


@pytest.fixture
def shop(the_shop: EagerShop, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[EagerShop]:
    """An empty shop. After the test everything is decided and settled, and nothing came from nothing or got lost."""
    the_shop.clear()
    yield the_shop
    failed = getattr(request.node, "failed_in_call", False)
    if failed:
        return  # one reason is enough
    may = {what for marker in request.node.iter_markers("leaves") for what in marker.args}
    the_shop.post.mode = "delivers"
    tell = the_shop.tell
    assert "prepared" in may or not the_shop.prepared(), tell()
    assert "undecided" in may or not the_shop.undecided(), tell()
    assert may & {"undecided", "unsettled"} or not the_shop.unsettled(), tell()
    assert "unbalanced" in may or not the_shop.imbalance(), f"{the_shop.imbalance()}\n{tell()}"
    assert "unbalanced" in may or not the_shop.orphans(), f"{the_shop.orphans()}\n{tell()}"
    if not request.node.get_closest_marker("loud"):
        errors = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
        assert not errors, "\n".join(errors)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.failed_in_call = report.failed  # type: ignore[attr-defined]
    return report


@pytest.fixture
def user(shop: EagerShop) -> int:
    return shop.add_user("Ada")


@pytest.fixture
def teapot(shop: EagerShop) -> int:
    """Ten in stock, no limit of the warehouse."""
    return shop.add_product("teapot", stock=10, price=1999)


@pytest.fixture
def order(shop: EagerShop, user: int, teapot: int) -> int:
    """Four teapots of ten."""
    return shop.place_order(user, {teapot: 4})


@pytest.fixture
def removal(shop: EagerShop, user: int, order: int) -> TransactionRecord:
    """A removal that was accepted and whose messages were lost."""
    return shop.begin("users", "remove_user", user_id=user)


@pytest.fixture
def command(
    shop: EagerShop, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``command("users", "transactions", …)``: as `python -m users_service transactions …`. Whom it asks is asked in
    this process."""
    monkeypatch.setattr(
        service_roles_main, "atomic_of", lambda package, engine: shop.atomic(package.removesuffix("_service"))
    )

    def run(service: str, *words: str) -> Said:
        monkeypatch.setenv("DATABASE_URL", database_url(migrated, service))
        capsys.readouterr()
        try:
            code = service_roles_main.main(f"{service}_service", words)
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def engines_that_read_as_rows_lie(shop: EagerShop) -> Iterator[dict[str, sa.Engine]]:
    made = {
        service: sa.create_engine(shop.engines[service].url, connect_args={"options": AS_THEY_LIE})
        for service in SERVICES
    }
    yield made
    for engine in made.values():
        engine.dispose()
