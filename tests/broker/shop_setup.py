"""What pytest-celery needs of the shop, whether its nodes are processes or containers."""

from __future__ import annotations

from celery import Celery
from pytest_celery import CeleryTestSetup

from celery_config import create_celery
from tests.installation import INSTALLATION


class ShopSetup(CeleryTestSetup):
    """A setup whose app reads what our workers write: no class of ours is registered, tasks are sent by name."""

    @classmethod
    def create_setup_app(cls, celery_setup_config: dict[str, str], celery_setup_app_name: str) -> Celery:
        app = create_celery("users", INSTALLATION)
        app.conf.update(celery_setup_config)
        return app
