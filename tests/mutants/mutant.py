"""What a mutant is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """`old`, which must stand exactly once in `file`, becomes `new`; then `test` (below tests/) must fail."""

    protection: str
    file: str
    old: str
    new: str
    test: str

    def trouble(self, root: Path) -> str | None:
        """Why it can't be run on the tree at `root`: the code or the tests have moved on. None if it can."""
        times = (root / self.file).read_text().count(self.old)
        if times != 1:
            return f"✘ {self.protection}: its lines stand {times} times in {self.file}"
        file, _, name = self.test.partition("::")
        test = root / "tests" / file
        if not test.exists() or f"def {name.partition('[')[0]}" not in test.read_text():
            return f"✘ {self.protection}: there is no test {self.test}"
        return None
