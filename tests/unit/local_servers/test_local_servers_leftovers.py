"""What a killed launcher left: found again, proven to be ours, ended in order. And nobody else's process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from local_servers.errors import LocalServersError
from local_servers.identity import descendants, identity, working_in
from local_servers.leftovers import stop_leftovers, stop_phases
from local_servers.lock import StateLock
from local_servers.passwords import read_or_make
from local_servers.status import Recorded, Status, as_json, read_status, status_file, write_status
from local_servers.supervision import BROKERS_STOP, DATABASES_STOP

ROOT = Path(__file__).resolve().parents[3]
GONE = Recorded("launcher", 4_000_000, "a boot long ago:1")


@dataclass(frozen=True)
class Talkative(Status):
    more: str = ""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this test, in a session of its own, as an application's are."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def recorded(name: str, process: subprocess.Popen[bytes]) -> Recorded:
    return Recorded(name, process.pid, identity(process.pid))


# Identity


def test_a_process_keeps_its_identity_and_no_other_has_it(sleeper: subprocess.Popen[bytes]) -> None:
    assert identity(sleeper.pid) == identity(sleeper.pid) != identity(os.getpid())


def test_a_process_that_has_gone_has_no_identity_not_even_while_nobody_reaps_it(
    sleeper: subprocess.Popen[bytes],
) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert identity(sleeper.pid) is None
    sleeper.wait()
    assert identity(sleeper.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the working directory of others cannot be seen")
def test_a_servers_processes_are_found_by_their_program_in_their_data_folder(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as server, subprocess.Popen(["cat"], cwd=tmp_path, stdin=-1):
        assert working_in(tmp_path, "sleep") == [server.pid]
        assert working_in(tmp_path.parent, "sleep") == []
        assert server.pid in descendants(os.getpid())
        server.kill()


# Leftovers


def test_leftovers_are_ended_and_it_is_said(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    write_status(tmp_path, Status(GONE, "ready", (recorded("site", sleeper),)))
    said: list[str] = []
    assert stop_leftovers(tmp_path, said.append) == 1
    assert sleeper.wait(5) == -signal.SIGTERM
    assert said == ["launcher pid 4000000 was killed and left 1 of its processes: stopping them"]
    assert read_status(tmp_path, Status) is None


def test_a_frozen_leftover_is_woken_to_hear_its_end(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    write_status(tmp_path, Status(GONE, "ready", (recorded("site", sleeper),)))
    sleeper.send_signal(signal.SIGSTOP)
    stop_leftovers(tmp_path, lambda line: None)
    assert sleeper.wait(5) == -signal.SIGTERM


def test_another_process_with_a_recorded_pid_is_never_touched(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    stranger = replace(recorded("site", sleeper), known="this boot:but an earlier start")
    unproven = replace(recorded("mailer", sleeper), known=None)
    write_status(tmp_path, Status(GONE, "ready", (stranger, unproven)))
    assert stop_leftovers(tmp_path, lambda line: None) == 0
    assert sleeper.poll() is None


def test_processes_of_a_launcher_that_lives_are_no_leftovers(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    launcher = Recorded("launcher", os.getpid(), identity(os.getpid()))
    write_status(tmp_path, Status(launcher, "ready", (recorded("site", sleeper),)))
    stop_leftovers(tmp_path, lambda line: None)
    assert sleeper.poll() is None


def test_a_record_that_cannot_be_understood_ends_nothing(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"launcher": 1}', '{"launcher": {"pid": 1}, "processes": []}'):
        status_file(tmp_path).write_text(text)
        assert read_status(tmp_path, Status) is None
        assert stop_leftovers(tmp_path, lambda line: None) == 0


def test_who_knows_no_more_than_the_servers_understands_an_application_that_says_more(tmp_path: Path) -> None:
    write_status(tmp_path, Talkative(GONE, "ready", more="this"))
    assert read_status(tmp_path, Talkative) == Talkative(GONE, "ready", more="this")
    assert read_status(tmp_path, Status) == Status(GONE, "ready")


def test_each_leftover_is_ended_by_its_own_signal(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit(7)); print(flush=True); time.sleep(60)"
    with (
        subprocess.Popen(["sleep", "60"], start_new_session=True) as site,
        subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE) as mailer,
    ):
        assert mailer.stdout is not None
        mailer.stdout.readline()
        last = replace(recorded("mailer", mailer), stop_phase=3, stop_signal=signal.SIGINT)
        write_status(tmp_path, Status(GONE, "ready", (last, recorded("site", site))))
        assert stop_leftovers(tmp_path, lambda line: None) == 2
        assert (site.wait(5), mailer.wait(5)) == (-signal.SIGTERM, 7)


def test_lower_phases_end_first_and_those_of_one_number_together() -> None:
    phases = {"postgres": DATABASES_STOP, "redis": BROKERS_STOP, "mailer": 1, "site": 0, "search": 0}
    assert stop_phases(phases) == [["site", "search"], ["mailer"], ["redis"], ["postgres"]]


# Status and lock


def test_the_status_for_programs_has_null_for_a_process_that_does_not_run(sleeper: subprocess.Popen[bytes]) -> None:
    down = Recorded("mailer", None, None)
    said = json.loads(as_json(Status(GONE, "ready", (replace(recorded("site", sleeper), port=5001), down))))
    assert said["processes"] == [
        {"name": "site", "pid": sleeper.pid, "port": 5001},
        {"name": "mailer", "pid": None, "port": None},
    ]


def test_a_second_one_in_one_folder_is_one_line_that_names_the_first(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path, "a site"), StateLock(tmp_path, "a site")
    first.acquire()
    with pytest.raises(
        LocalServersError, match=rf"^A site already runs in .* \(launcher pid {os.getpid()}\): stop it, or"
    ) as error:
        second.acquire()
    assert "\n" not in str(error.value)
    first.release()
    second.acquire()
    second.release()


def test_the_lock_of_a_launcher_that_was_killed_is_free_although_its_children_live(tmp_path: Path) -> None:
    script = (
        "import pathlib, subprocess, sys; from local_servers.lock import StateLock;"
        "StateLock(pathlib.Path(sys.argv[1])).acquire();"
        "print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        child = int(launcher.stdout.readline())
        with pytest.raises(LocalServersError):
            StateLock(tmp_path).acquire()
        launcher.kill()
    try:
        lock = StateLock(tmp_path)
        lock.acquire()
        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_names_passwords_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write_status(tmp_path, Status(GONE, "ready"))
    passwords = read_or_make(tmp_path / "passwords.json", ("postgres",))
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_or_make(tmp_path / "passwords.json", ("postgres", "site_role"))["postgres"] == passwords["postgres"]
