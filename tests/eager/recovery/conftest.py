"""What tests of lost branches share: those that find them, and those that run them again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eager_losses import removed
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.verify import verification


@pytest.fixture
def at_once(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What seems lost is asked about again without waiting until it is older."""
    monkeypatch.setattr(verification, "YOUNG", 0.0)
    yield
    # Only who verifies has to know the databases of coordinators: other tests want to be the first.
    shop.query("products", "DELETE FROM participant_databases")


@pytest.fixture
def done(shop: EagerShop, user: int, order: int) -> TransactionRecord:
    """A removal of a user with an order of four teapots."""
    return removed(shop, user)
