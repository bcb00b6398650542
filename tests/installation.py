"""The installation that tests and instruments are: every process that they start inherits the name."""

from __future__ import annotations

import os

from atomic_commit.names import Installation
from celery_config.installation import VARIABLE, installation
from celery_config.queues import queue_names

os.environ.setdefault(VARIABLE, "tests")

INSTALLATION: Installation = installation()
QUEUE_NAMES = queue_names(INSTALLATION)
