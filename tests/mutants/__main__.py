"""Apply each mutant to a copy of the tree and run its test there: killed if the test fails, survived if it passes.

The words given choose those mutants whose protection has one of them in its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .mutant import Mutant
from .table import MUTANTS

_ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".embedded", "__pycache__", ".*_cache")
#: pytest's exit code for "tests were run, and some failed"
_FAILED = 1


def main() -> int:
    wanted = sys.argv[1:]
    chosen = [m for m in MUTANTS if not wanted or any(word in m.protection for word in wanted)]
    stale = [trouble for mutant in chosen if (trouble := mutant.trouble(_ROOT))]
    if stale or not chosen:
        print("\n".join(stale) or f"no mutant is called anything with {wanted}")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(_ROOT, tree, ignore=_LEFT_OUT)
        healthy = _run(tree, *sorted({m.test for m in chosen}))
        if healthy.returncode:
            print(f"the tests fail without any mutant:\n{healthy.stdout[-3000:]}{healthy.stderr[-1000:]}")
            return 2
        survivors = [m for m in chosen if not _is_killed(m, tree)]
    print(f"{len(chosen)} mutants, {len(chosen) - len(survivors)} killed, {len(survivors)} survived")
    return 1 if survivors else 0


def _is_killed(mutant: Mutant, tree: Path) -> bool:
    file = tree / mutant.file
    healthy = file.read_text()
    file.write_text(healthy.replace(mutant.old, mutant.new))
    try:
        result = _run(tree, mutant.test)
    finally:
        file.write_text(healthy)
    killed = result.returncode == _FAILED
    print(
        f"{'✔' if killed else '✘'} {mutant.protection}: {'killed by' if killed else 'SURVIVED'} {mutant.test}",
        flush=True,
    )
    if not killed:
        print(result.stdout[-2000:])
    return killed


def _run(tree: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
    own_engine = {**os.environ, "PYTHONPATH": str(tree / "engine" / "src")}  # what is installed is not the copy's
    return subprocess.run(argv, cwd=tree, env=own_engine, capture_output=True, text=True, timeout=900, check=False)


sys.exit(main())
