"""Faults of the machine under a server: a full disk, a clock that jumps; and a worker of the previous release.

Each is arranged with means of the machine (a file system in memory, libfaketime, git). Where one is missing the fault
is skipped, with the reason, and counted as skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2

from celery_config.manifest import SERVICES
from embedded.settings import ROOT
from tests.broker.waiting import wait_until

from .server_faults import lose_messages
from .stage import Fault, SkippedError, Stage

_SPARE = 24 * 1024 * 1024
_MINUTES = 20
#: Seconds that the clients work under each of the wrong clocks.
_WORKS_FOR = 4
_DAY = 24 * 60
#: What decides whether two releases can share a database.
_SCHEMA = (":(glob)**/atomic_commit/**/schema.py", ":(glob)*/migrations/**", ":(glob)*/models.py")
_PREVIOUS_WORKERS = ("worker", "outcome-worker")

Hurt = Callable[[Stage], AbstractContextManager[object]]


def machine_faults() -> Iterator[Fault]:
    yield _disk_full("products", "pg_wal", short=True)
    yield _disk_full("orders", "base")
    yield _disk_full("users", "pg_wal")
    yield _clock("orders", short=True)
    yield _clock("products")
    yield _workers_clocks()
    yield _clock_from_another_month()
    for service in SERVICES:
        yield _previous_release(service)
    yield _rolling_upgrade()


# ---- a full disk


def _disk_full(service: str, part: str, short: bool = False) -> Fault:
    """`part`: the folder of the data folder that lies on the disk that fills up. Without ``pg_wal`` the server panics;
    without ``base`` it lives, and no table can grow."""
    what = {"pg_wal": "write-ahead log", "base": "tables"}[part]
    return Fault(
        f"disk with the {what} of postgres-{service} full",
        "disk full",
        lambda stage: _filled(stage, service, part),
        hold=12,
        setting=lambda stage: _on_a_disk_of_its_own(stage, service, part),
        short=short,
    )


@contextmanager
def _on_a_disk_of_its_own(stage: Stage, service: str, part: str) -> Iterator[None]:
    """The folder lies on a small file system in memory while the block runs."""
    folder = stage.shop.data_folder(f"postgres-{service}") / part
    with _down(stage, f"postgres-{service}"):
        aside = folder.with_name(f"{part}.aside")
        folder.rename(aside)
        folder.mkdir()
        size = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file()) + _SPARE
        _mount(folder, size)
        _fill_from(aside, folder)
    try:
        yield
    finally:
        with _down(stage, f"postgres-{service}"):
            _fill_from(folder, aside)
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()
            aside.rename(folder)


def _mount(folder: Path, size: int) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        folder.rmdir()
        folder.with_name(f"{folder.name}.aside").rename(folder)
        raise SkippedError(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")


def _fill_from(source: Path, target: Path) -> None:
    """Copy it all, owners and modes too, and nothing else is left there."""
    for old in target.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)


@contextmanager
def _filled(stage: Stage, service: str, part: str) -> Iterator[None]:
    """Not a byte is free while the block runs."""
    ballast = stage.shop.data_folder(f"postgres-{service}") / part / "ballast"
    _write_until_full(ballast)
    if part == "pg_wal":
        _use_up_what_is_preallocated(stage, service)
    try:
        yield
    finally:
        ballast.unlink()


def _write_until_full(ballast: Path) -> None:
    with open(ballast, "wb", buffering=0) as out:
        try:
            while out.write(bytes(65536)):
                pass
        except OSError:
            return


def _use_up_what_is_preallocated(stage: Stage, service: str) -> None:
    """PostgreSQL makes segments ahead of time. Switching to the next one, again and again, comes to one that it would
    have to make: then it panics."""
    for _ in range(100):
        try:
            stage.databases.rows(service, "SELECT pg_current_xact_id(), pg_switch_wal()")
        except psycopg2.Error:
            break
    said = lambda: stage.shop.log_of(f"postgres-{service}")  # noqa: E731
    wait_until(lambda: "No space left on device" in said(), "the server is hurt by its full disk", 20)


@contextmanager
def _down(stage: Stage, name: str) -> Iterator[None]:
    stage.shop.hold_down(name)
    try:
        yield
    finally:
        stage.shop.bring_up(name)


# ---- clocks


def _clock(service: str, short: bool = False) -> Fault:
    name = f"postgres-{service}"

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        clock = _clock_file(stage)
        for minutes in (-_MINUTES, _MINUTES):
            _move(clock, minutes)
            seen = stage.databases.rows(service, "SELECT clock_timestamp() AS now")[0]["now"]
            assert abs((seen - datetime.now(UTC)).total_seconds() - 60 * minutes) < 30, f"its clock says {seen}"
            time.sleep(_WORKS_FOR)
        yield
        _move(clock, 0)
        lose_messages(stage)  # what is under way is up to recovery, whose rows are from the future

    return Fault(
        f"clock of {name} moved by -{_MINUTES}, +{2 * _MINUTES}, -{_MINUTES} min",
        "clock",
        hurt,
        hold=1,
        setting=lambda stage: _with_movable_clocks(stage, name),
        short=short,
    )


def _workers_clocks() -> Fault:
    names = ("users-outcome-worker", "orders-outcome-worker", "products-worker", "orders-api")

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        clock = _clock_file(stage)
        for minutes in (-_MINUTES, _MINUTES):
            _move(clock, minutes)
            time.sleep(_WORKS_FOR)
            _assert_moved(stage, names[0], minutes)
        yield
        _move(clock, 0)

    return Fault(
        f"clocks of {', '.join(names)} moved by -{_MINUTES}, +{2 * _MINUTES}, -{_MINUTES} min",
        "clock",
        hurt,
        hold=1,
        setting=lambda stage: _with_movable_clocks(stage, *names),
    )


def _clock_from_another_month() -> Fault:
    """It drops every message as expired, and says so."""
    name = "products-worker"

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        clock = _clock_file(stage)
        _move(clock, 20 * _DAY)
        with _with_clock(stage, name, clock):
            yield
            for words in ("20 d ahead of its database's", "dropped as expired"):
                wait_until(lambda words=words: words in stage.shop.log_of(name), f"{name} says: {words}", 20)
            _move(clock, 0)

    return Fault(f"clock of {name} 20 days ahead", "clock", hurt)


@contextmanager
def _with_clock(stage: Stage, name: str, clock: Path) -> Iterator[None]:
    """The process runs with that clock, and by the machine's again afterwards."""
    stage.shop.hold_down(name)
    stage.shop.bring_up(name, environment=_by_the_clock_in(clock))
    try:
        yield
    finally:
        with _down(stage, name):
            pass


def _assert_moved(stage: Stage, worker: str, minutes: int) -> None:
    """By the times in its log."""
    times = re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d+ ", stage.shop.log_of(worker), re.MULTILINE)
    apart = (datetime.fromisoformat(times[-1]) - datetime.now()).total_seconds()
    assert abs(apart - 60 * minutes) < 60, f"{worker} thinks that it is {times[-1]}"


def _clock_file(stage: Stage) -> Path:
    return stage.folder / "clock"


def _move(clock: Path, minutes: int) -> None:
    part = clock.with_suffix(".part")
    part.write_text(f"{minutes * 60:+d}\n")
    part.chmod(0o644)
    part.replace(clock)


@contextmanager
def _with_movable_clocks(stage: Stage, *names: str) -> Iterator[None]:
    """These processes take their time from a file. Their monotonic clocks stay as they are, as a moved clock leaves
    them."""
    clock = _clock_file(stage)
    _move(clock, 0)
    environment = _by_the_clock_in(clock)
    for name in names:
        stage.shop.hold_down(name)
        stage.shop.bring_up(name, environment=environment)
    try:
        yield
    finally:
        for name in names:
            with _down(stage, name):
                pass


def _by_the_clock_in(clock: Path) -> dict[str, str]:
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
    if library is None:
        raise SkippedError("libfaketime is not installed (Debian's package faketime)")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


# ---- the previous release


def _previous_release(service: str) -> Fault:
    """The branch worker and the outcome worker of one service run the oldest code that has today's schema."""
    names = tuple(f"{service}-{role}" for role in _PREVIOUS_WORKERS)

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        if not stage.roots:
            raise SkippedError("there is no earlier release with this schema in the repository's history")
        for name in names:
            assert os.readlink(f"/proc/{stage.shop.pid(name)}/cwd") == str(stage.roots[name])
            stage.shop.kill(name)
        yield

    return Fault(
        f"{' and '.join(names)} of the previous release, killed once",
        "previous release",
        hurt,
        hold=10,
        roots=lambda folder: _earlier_code(folder, names),
    )


def _earlier_code(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """The code of the commit that last changed the schema, laid out in `folder`, for these processes."""
    commit = _git("log", "-1", "--format=%H", "--", *_SCHEMA).decode().strip()
    if not commit or commit == _git("rev-parse", "HEAD").decode().strip():
        return {}
    code = folder / f"release-{commit[:7]}"
    code.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", code], input=_git("archive", commit), check=True)
    return dict.fromkeys(names, code)


def _rolling_upgrade() -> Fault:
    """Every process runs the code from before the last change of the schema, whose migrations are done; then one after
    the other is stopped and started with today's, under load."""
    names = tuple(f"{service}-{role}" for role in ("api", "worker", "outcome-worker") for service in SERVICES)

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        if not stage.roots:
            raise SkippedError("there is no earlier schema in the repository's history")
        for name in names:
            place = stage.roots[name]
            assert Path(os.readlink(f"/proc/{stage.shop.pid(name)}/cwd")) == place.resolve()
            with _down(stage, name):
                place.unlink()
                place.symlink_to(ROOT)
            assert Path(os.readlink(f"/proc/{stage.shop.pid(name)}/cwd")) == ROOT
        yield

    return Fault(
        "all processes upgraded, one after the other, from the previous schema's release",
        "rolling upgrade",
        hurt,
        roots=lambda folder: _previous_code(folder, names),
    )


def _previous_code(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """The code of the commit before the last change of the schema, laid out in `folder`: a link for each process."""
    commit = _git("log", "-1", "--format=%H", "--", *_SCHEMA).decode().strip()
    if not commit:
        return {}
    code, links = folder / "release-before", folder / "running"
    for made in (code, links):
        made.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", code], input=_git("archive", f"{commit}^"), check=True)
    for name in names:
        (links / name).symlink_to(code)
    return {name: links / name for name in names}


def _git(*words: str) -> bytes:
    done: Any = subprocess.run(["git", "-C", ROOT, *words], capture_output=True)
    return bytes(done.stdout) if done.returncode == 0 else b""
