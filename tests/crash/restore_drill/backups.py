"""Base backups, the archive of a server's log, and a data folder put back that the server brings up to a point by name.

A base backup is a copy of the files while they change; with the log from its begin on, PostgreSQL makes of it the
database of any moment after its end.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

ARCHIVED_WITHIN = 30.0


def archiving(archive: Path) -> dict[str, str]:
    """The settings of a server whose log is copied into the folder `archive`.

    A file is there under its name only when it is whole, and is never written over.
    """
    kept = _quoted(archive / "%f")
    return {
        "archive_mode": "on",
        "archive_command": f"test ! -e {kept} && cp %p {kept}.part && mv {kept}.part {kept}",
    }


def recovering(archive: Path, point: str) -> dict[str, str]:
    """The settings of a server that goes by the log in `archive` up to the restore point `point`, and then goes on from
    there by itself. The folder needs a ``recovery.signal`` (``put_back``)."""
    return {
        "archive_mode": "off",  # the archive stays what it was when the shop was destroyed: it is restored from again
        "hot_standby": "off",  # nobody gets in before it has arrived
        "restore_command": f"cp {_quoted(archive / '%f')} %p",
        "recovery_target_name": point,
        "recovery_target_action": "promote",
        "recovery_target_timeline": "current",
    }


def take_base_backup(programs: Path, url: str, folder: Path, environment: Mapping[str, str]) -> float:
    """Copy the running server at `url` into the new folder. Returns its size in MB (10^6 bytes)."""
    command = [str(programs / "pg_basebackup"), "--pgdata", str(folder), "--dbname", url]
    done = subprocess.run(
        [*command, "--checkpoint=fast", "--wal-method=stream", "--no-sync"],
        capture_output=True,
        text=True,
        env=dict(environment),
    )
    assert done.returncode == 0, f"pg_basebackup failed: {done.stderr.strip()}"
    return size_of(folder)


def size_of(folder: Path) -> float:
    """MB (10^6 bytes) in the files below it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def close_log(databases: Databases, service: str, archive: Path) -> None:
    """Wait until the log of the service's server is archived up to this moment."""
    (now,) = databases.rows(service, "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS file")
    databases.rows(service, "SELECT pg_switch_wal()")
    last = archive / now["file"]
    wait_until(last.exists, f"{service}'s log is archived up to {last.name}", ARCHIVED_WITHIN)


def put_back(backup: Path, data: Path) -> None:
    """The base backup as a server's data folder, in place of whatever was there; the server recovers at its start."""
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(backup, data, symlinks=True)
    (data / "recovery.signal").touch()


def _quoted(path: Path) -> str:
    """For a shell command in which PostgreSQL replaces ``%f``: a per cent sign of the folder's own is written twice."""
    return shlex.quote(f"{str(path.parent).replace('%', '%%')}/{path.name}")
