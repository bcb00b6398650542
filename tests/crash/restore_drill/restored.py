"""A shop that is put back from its backups, each service at the point that is named for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from celery_config.manifest import SERVICES
from embedded.settings import DATABASES
from local_servers.application import Application
from tests.broker.databases import Databases

from . import backups
from .evidence import Remembered, read_redis
from .life import Folders
from .states import State, read_states


@dataclass(frozen=True)
class Restored:
    """What there is before any process of the shop has seen it: rows by service, and what Redis remembers."""

    states: Mapping[str, State]
    remembered: Remembered


def restore(folders: Folders, points: Mapping[str, str], keep_redis: bool) -> Restored:
    """Throw away every server's data, and bring each service's database from its base backup up to its point.

    `keep_redis`: Redis has what it had at the crash, which is newer than that; otherwise it is empty. Nothing runs when
    this returns. Raises StartFailed where a server does not find its point.
    """
    recovering = {
        f"postgres-{service}": backups.recovering(folders.archive(service), points[service]) for service in SERVICES
    }
    servers = Application(folders.shop, databases=DATABASES, postgres_each=True, postgres_settings=recovering)
    for service in SERVICES:
        backups.put_back(folders.backup(service), servers.data_folder(f"postgres-{service}"))
    shutil.rmtree(servers.data_folder("redis"))
    if keep_redis:
        shutil.copytree(folders.redis, servers.data_folder("redis"))
    with servers:
        return Restored(
            read_states(Databases(servers.admin_url)), read_redis(servers.broker_url, servers.result_backend_url)
        )
