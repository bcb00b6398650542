"""A server that hangs is left alone for a moment; one that refuses at once, or answers badly, is not."""

from __future__ import annotations

import pytest

from atomic_commit import Lost
from atomic_commit.wire import circuit_breaker
from atomic_commit.wire.circuit_breaker import CircuitBreaker


def test_after_a_call_that_hung_nobody_is_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "_AT_ONCE", -1.0)  # every failure counts as one that took long
    server = CircuitBreaker("the broker")
    with pytest.raises(TimeoutError), server.asked():
        raise TimeoutError
    with pytest.raises(Lost, match="the broker hung"), server.asked():
        pytest.fail("it was asked again")


def test_after_the_moment_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "_AT_ONCE", -1.0)
    monkeypatch.setattr(circuit_breaker, "_LEFT_ALONE", 0.0)
    server = CircuitBreaker("the broker")
    with pytest.raises(TimeoutError), server.asked():
        raise TimeoutError
    with server.asked():
        pass


def test_a_server_that_refuses_at_once_is_asked_every_time() -> None:
    server = CircuitBreaker("the broker")
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError), server.asked():
            raise ConnectionRefusedError


def test_what_is_no_error_of_the_transport_says_nothing_about_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "_AT_ONCE", -1.0)
    server = CircuitBreaker("the broker")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), server.asked():
            raise ZeroDivisionError
