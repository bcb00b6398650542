"""What a service is put together from says at once what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery

from atomic_commit import AtomicCommit, Installation, configure, create_engine

INSTALLATION = Installation("market", "tests")
URL = "postgresql://nobody@127.0.0.1:1/nowhere"


def configured(**given: Any) -> Celery:
    chosen = {"installation": INSTALLATION, "service": "bank", "services": ("bank", "market"), **given}
    urls = {"broker_url": "memory://", "result_backend_url": "cache+memory://"}
    return configure(Celery("bank", set_as_current=False), **chosen, **urls)


def bank(**given: Any) -> AtomicCommit:
    chosen = {"celery": configured(), "engine": create_engine(URL), **given}
    return AtomicCommit(service="bank", installation=INSTALLATION, **chosen)


def test_a_configured_app_has_the_queues_of_every_service() -> None:
    names = {queue.name for queue in configured().conf.task_queues}
    assert names == {
        "market.tests.bank",
        "market.tests.bank.outcome",
        "market.tests.market",
        "market.tests.market.outcome",
    }


@pytest.mark.parametrize(
    "celery",
    [
        Celery("bank", set_as_current=False),
        configured(services=("market",)),
        configured(installation=Installation("market", "other")),
    ],
    ids=["not configured", "another service", "another installation"],
)
def test_an_app_that_is_not_configured_for_the_service_is_refused(celery: Celery) -> None:
    with pytest.raises(ValueError, match=r"no queues for 'bank' of the installation market.tests: call .*configure"):
        bank(celery=celery)


def test_the_driver_is_psycopg2_whatever_sqlalchemy_takes_for_postgresql() -> None:
    assert create_engine(URL).driver == "psycopg2"


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://host/name", "postgresql+asyncpg://host/name", "mysql://host/name", ""]
)
def test_another_driver_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ValueError, match=r"a database URL begins with postgresql:// .the driver is psycopg2"):
        create_engine(url)


def test_an_engine_of_another_driver_is_refused() -> None:
    with pytest.raises(ValueError, match=r"make the engine with atomic_commit.create_engine"):
        bank(engine=sa.create_engine("sqlite://"))


def test_an_installation_that_is_not_named_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="ATOMIC_INSTALLATION is not set: give this installation of the market a name"):
        Installation.from_environment("market", {})


ENVIRONMENT = {
    "ATOMIC_INSTALLATION": "tests",
    "DATABASE_URL": URL,
    "BROKER_URL": "memory://",
    "RESULT_BACKEND_URL": "cache+memory://",
    "ATOMIC_PATIENCE": "7",
}


def from_environment(**changed: str | None) -> AtomicCommit:
    chosen = {name: value for name, value in {**ENVIRONMENT, **changed}.items() if value is not None}
    return AtomicCommit.from_environment(
        application="market", service="bank", services=("bank", "market"), environment=chosen
    )


def test_one_call_wires_a_service_by_its_environment() -> None:
    atomic = from_environment()
    assert atomic.installation == INSTALLATION
    assert atomic.engine.url.database == "nowhere"
    assert atomic.celery.conf.broker_url == "memory://"


@pytest.mark.parametrize("name", ["ATOMIC_INSTALLATION", "DATABASE_URL", "BROKER_URL", "RESULT_BACKEND_URL"])
def test_a_variable_that_is_not_set_is_named_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is not set.* for example "):
        from_environment(**{name: None})


def test_a_limit_that_is_no_number_is_named() -> None:
    with pytest.raises(ValueError, match="ATOMIC_PATIENCE='soon' is not a number"):
        from_environment(ATOMIC_PATIENCE="soon")
