"""The installation that tests and instruments are: every process that they start inherits the name."""

from __future__ import annotations

import os

from atomic_commit.names import Installation
from atomic_commit.workers.queues import queue_names
from celery_config.installation import VARIABLE, installation
from celery_config.manifest import SERVICES

os.environ.setdefault(VARIABLE, "tests")

INSTALLATION: Installation = installation()
QUEUE_NAMES = queue_names(INSTALLATION, SERVICES)
