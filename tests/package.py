"""The engine as others get it: built, installed where nothing of the shop is, and tested from its own archive.

``make package``. Leaves wheel and sdist in ``engine/dist``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from local_servers.application import Application

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "engine" / "dist"


def main() -> int:
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", str(ROOT / "engine"), "--outdir", str(DIST))
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with tempfile.TemporaryDirectory(prefix="atomic-commit-") as name:
        folder = Path(name)
        python = _environment(folder / "venv", wheel)
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = folder.glob("atomic_commit-*")
        shutil.rmtree(source / "src")  # what is tested is what is installed
        with Application(folder / "servers", databases={"any": "any"}) as servers:
            alone = {"PATH": os.environ["PATH"], "ATOMIC_TEST_POSTGRES": servers.admin_url("postgres")}
            _run(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=source, env=alone)
    print(f"{wheel.name} and {sdist.name} are in {DIST}, and pass their own tests where nothing else is")
    return 0


def _environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel and what its tests need. Returns its Python."""
    _run(sys.executable, "-m", "venv", str(folder))
    python = folder / "bin" / "python"
    _run(str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", f"{wheel}[redis,test]")
    return python


def _run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
