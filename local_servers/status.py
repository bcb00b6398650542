"""`status.json` in the state folder: what runs there now, for other terminals and for the next launcher."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from local_servers.identity import identity
from local_servers.passwords import write_private

PHASES = ("starting", "ready", "stopping")


@dataclass(frozen=True)
class Recorded:
    """A process as it was started.

    `stop_phase` and `stop_signal` are its program's: who finds it without its launcher ends it as that would have.
    """

    name: str
    #: None while it is down
    pid: int | None
    #: its `identity`, by which a pid that was given to another process is known; None while it is down
    known: str | None
    #: on which it listens; None: none
    port: int | None = None
    stop_phase: int = 0
    stop_signal: int = signal.SIGTERM

    @property
    def runs(self) -> bool:
        """Whether the very process that was recorded is there now."""
        return self.pid is not None and self.known is not None and identity(self.pid) == self.known


@dataclass(frozen=True)
class Status:
    """An application: its launcher, its processes, and where things can be reached (URLs).

    What else an application has to say is in fields of a subclass.
    """

    launcher: Recorded
    #: one of `PHASES`
    phase: str
    processes: tuple[Recorded, ...] = ()
    #: name → URL, with the password
    databases: Mapping[str, str] = field(default_factory=dict)
    #: empty while it is not up
    broker: str = ""
    result_backend: str = ""
    #: name → URL
    apis: Mapping[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> dict[str, str]:
        """Name → URL of what people may want to reach, beside the databases."""
        return {**self.apis, "broker": self.broker, "results": self.result_backend}

    @property
    def leftovers(self) -> tuple[Recorded, ...]:
        """Processes that still run although their launcher does not."""
        return () if self.launcher.runs else tuple(one for one in self.processes if one.runs)


S = TypeVar("S", bound=Status)


def status_file(state: Path) -> Path:
    return state / "status.json"


def write_status(state: Path, status: Status) -> None:
    """Replace the file in one step. It names passwords: only its owner may read it."""
    write_private(status_file(state), json.dumps(asdict(status), indent=1))


def read_status(state: Path, kind: type[S]) -> S | None:
    """What the file says of the fields that `kind` has; None when there is none, or none that can be understood.

    Raises PermissionError when it is another user's.
    """
    try:
        said = json.loads(status_file(state).read_text())
        launcher = Recorded(**said.pop("launcher"))
        processes = tuple(Recorded(**one) for one in said.pop("processes"))
        known = {one.name: said[one.name] for one in fields(kind) if one.name in said}
        return kind(**{**known, "launcher": launcher, "processes": processes})
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return None


def forget_status(state: Path) -> None:
    status_file(state).unlink(missing_ok=True)


def as_json(status: Status | None, ready: Mapping[str, str] | None = None) -> str:
    """For programs. The pid of a process that does not run at this moment is null; `ready`: what ``/readyz`` says."""
    if status is None:
        return json.dumps({"processes": [], "databases": {}, "broker": None})
    processes = [_for_programs(one) for one in status.processes]
    return json.dumps(
        {**asdict(status), "processes": processes, "launcher": status.launcher.pid, "ready": ready}, indent=1
    )


def _for_programs(one: Recorded) -> dict[str, str | int | None]:
    return {"name": one.name, "pid": one.pid if one.runs else None, "port": one.port}


def as_table(status: Status, ready: Mapping[str, str] | None = None) -> str:
    """For people."""
    width = max(len(one.name) for one in (status.launcher, *status.processes))
    lines = [f"{'process':<{width}}  {'pid':>7}  {'port':>5}  state"]
    lines += [_row(status.launcher, width, status.phase)]
    lines += [_row(one, width, "running" if one.runs else "down") for one in status.processes]
    if ready:
        lines += ["", "services", *(f"  {service:<9} {said}" for service, said in ready.items())]
    lines += ["", "databases"]
    lines += [f"  {name:<9} {url}" for name, url in status.databases.items()]
    lines += ["", "addresses"]
    lines += [f"  {name:<9} {url}" for name, url in status.addresses.items() if url]
    return "\n".join(lines)


def _row(one: Recorded, width: int, state: str) -> str:
    pid = one.pid if one.runs else "-"
    return f"{one.name:<{width}}  {pid:>7}  {one.port or '-':>5}  {state}"
