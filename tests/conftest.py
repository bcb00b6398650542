"""For all tests: what installation they are is settled before anything reads it; what is slow, and on which broker."""

from __future__ import annotations

from pathlib import Path

import pytest

import atomic_commit
from tests import installation as installation

_HERE = Path(__file__).parent
#: Folders whose tests start processes, or explore for minutes.
_SLOW = ("broker", "docker", "model")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker", choices=("redis", "rabbitmq"), help="of tests that need a broker, only those on this one"
    )
    parser.addoption("--only-on", choices=("redis", "rabbitmq"), help="only tests that need this broker")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if any(_HERE / folder in item.path.parents for folder in _SLOW):
            item.add_marker(pytest.mark.slow)
    broker, alone = config.getoption("broker"), config.getoption("only_on")
    if broker or alone:
        wanted = {alone} if alone else {None, broker}
        others = [item for item in items if _broker_of(item) not in wanted]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def _broker_of(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("running_shop") if callspec else None


def pytest_configure(config: pytest.Config) -> None:
    """A copy of the repository whose environment is another one's would test the other one's engine."""
    own = _HERE.parent / "engine" / "src"
    if own not in Path(atomic_commit.__file__).parents:
        pytest.exit(f"{atomic_commit.__file__} is not the engine of this folder: set PYTHONPATH={own}", returncode=4)
