"""For the reference: docstrings as Markdown, where a literal block begins after ``:`` and not after ``::``."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object


class LiteralBlocks(Extension):
    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("::\n", ":\n")
