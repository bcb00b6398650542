"""Who has only the engine's wheel has none of this repository's files: what the engine says names none of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from embedded.settings import ROOT

SOURCES = ROOT / "engine" / "src"

_FOLDERS = "|".join(
    sorted(re.escape(there.name) for there in (*ROOT.iterdir(), *(ROOT / "engine").iterdir()) if there.is_dir())
)
#: ``docs/…``, ``tests/…``, and names of files that no wheel holds; not what stands in the middle of a URL.
_PATH = re.compile(rf"(?<![\w./])(?:(?:{_FOLDERS})/|\w[\w-]*\.(?:md|ya?ml|toml)\b|Makefile\b)")


def said(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each string in `source`, those in f-strings too; docstrings are for who reads the code."""
    tree = ast.parse(source)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value


def sent_to_files(source: str) -> list[str]:
    return [f"{line}: {text}" for line, text in sorted(said(source)) if _PATH.search(text)]


def test_no_message_of_the_engine_sends_its_reader_to_a_file_of_the_repository() -> None:
    files = sorted(SOURCES.rglob("*.py"))
    assert files
    found = {str(file.relative_to(ROOT)): sent_to_files(file.read_text()) for file in files}
    assert not {file: lines for file, lines in found.items() if lines}


def test_a_path_in_a_message_is_seen_and_one_in_a_docstring_or_a_url_is_not() -> None:
    source = '''
"""See docs/index.md."""
raise ValueError(f"{name} is lost: docs/operating/scaling.md")
log.info("see README.md")
log.info("https://www.postgresql.org/docs/current/sql-notify.html")
'''
    assert [line.partition(":")[0] for line in sent_to_files(source)] == ["3", "4"]
