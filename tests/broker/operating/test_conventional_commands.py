"""What people type who know Celery and Flask: each finds the application and answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from embedded.settings import ROOT
from tests.broker.shopkeeper import Shopkeeper
from tests.installation import INSTALLATION, QUEUE_NAMES


def typed(shop: Shopkeeper, *words: str) -> str:
    """What the command says; it must succeed."""
    environment = {
        **os.environ,
        "DATABASE_URL": shop.shop.database_url("users"),
        "BROKER_URL": shop.shop.broker_url,
        "RESULT_BACKEND_URL": shop.shop.result_backend_url,
    }
    command = [sys.executable, "-m", *words]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, f"{words}: {said.stdout}{said.stderr}"
    return said.stdout


@pytest.mark.parametrize("application", ["users_service", "celery_config"])
def test_celery_status_lists_every_worker(shop: Shopkeeper, application: str) -> None:
    said = typed(shop, "celery", "-A", application, "status")
    assert all(f"{queue}@" in said for queue in QUEUE_NAMES), said


def test_celery_inspect_registered_lists_the_branches_and_the_verbs(shop: Shopkeeper) -> None:
    said = typed(shop, "celery", "-A", "celery_config", "inspect", "registered")
    assert f"{INSTALLATION}.orders.cancel_user_orders" in said
    assert f"{INSTALLATION}.products.commit" in said


def test_flask_routes_lists_the_paths(shop: Shopkeeper) -> None:
    assert "/users/<int:user_id>" in typed(shop, "flask", "--app", "users_service", "routes")
