"""One question to every service, and what is known where one does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.canvas import Signature
from celery.exceptions import TaskRevokedError

from atomic_commit import Conflict, Installation, configure
from atomic_commit.cli.asking import Reply, ask, services_of

INSTALLATION = Installation("market", "tests")
SERVICES = ("bank", "market")


def configured(broker_url: str = "memory://") -> Celery:
    return configure(
        Celery("asking", set_as_current=False),
        installation=INSTALLATION,
        service="operator",
        services=SERVICES,
        broker_url=broker_url,
        result_backend_url="cache+memory://",
    )


@pytest.fixture
def celery() -> Celery:
    """Both services in one process: bank answers, market can't."""
    celery = configured()
    celery.conf.update(task_always_eager=True)

    def answer(how: str) -> dict[str, str]:
        return {"I am": how}

    def refuse(how: str) -> None:
        raise Conflict(f"not {how} now\nand more words")

    for service, body in zip(SERVICES, (answer, refuse), strict=True):
        celery.task(body, name=INSTALLATION.task(service, "greet"), shared=False)
    return celery


def test_each_service_is_asked_and_who_can_not_says_why(celery: Celery) -> None:
    assert ask(celery, INSTALLATION, "greet", {"how": "well"}) == {
        "bank": Reply({"I am": "well"}),
        "market": Reply(trouble="not well now"),
    }


def test_only_those_who_are_named_are_asked(celery: Celery) -> None:
    assert ask(celery, INSTALLATION, "greet", {"how": "well"}, services=["bank"]).keys() == {"bank"}


def test_who_does_not_answer_in_time_is_told_by_name() -> None:
    silent = Reply(trouble="did not answer within 0.05 s")
    assert ask(configured(), INSTALLATION, "greet", within=0.05) == {"bank": silent, "market": silent}


def test_a_broker_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(question: Signature, **_: Any) -> None:
        asked.append(question["task"])
        raise OSError("no broker here")

    monkeypatch.setattr(Signature, "apply_async", refuse)
    away = Reply(trouble="could not be asked: OSError: no broker here")
    assert ask(configured(), INSTALLATION, "greet") == {"bank": away, "market": away}
    assert asked == ["market.tests.bank.greet"]


def test_a_question_that_was_dropped_as_expired_says_what_may_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    celery = configured()

    def expire(question: Signature, **_: Any) -> Any:
        celery.backend.store_result("dropped", TaskRevokedError("expired"), "REVOKED")
        return celery.AsyncResult("dropped")

    monkeypatch.setattr(Signature, "apply_async", expire)
    [reply] = ask(celery, INSTALLATION, "greet", services=["bank"]).values()
    assert reply.trouble
    assert "its clock is ahead of this machine's" in reply.trouble
    assert celery.AsyncResult("dropped").state == "PENDING", "an answer that was read is not kept"


def test_the_services_are_those_that_the_app_was_configured_for() -> None:
    assert services_of(configured()) == SERVICES


def test_a_question_is_sent_to_the_outcome_queue_and_dies_with_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Signature] = []

    def note(question: Signature, **_: Any) -> Any:
        sent.append(question)
        raise OSError

    monkeypatch.setattr(Signature, "apply_async", note)
    ask(configured(), INSTALLATION, "greet", {"how": "well"}, within=3.0)
    [question] = sent
    assert question.kwargs == {"how": "well"}
    assert question.options["queue"] == "market.tests.bank.outcome"
    assert question.options["expires"] == 3.0
