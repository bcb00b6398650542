"""For the site: a link that leaves docs/ becomes the path of that file in the repository, because the site has no such
page. A page that would make a reader's browser ask another server is a warning, which ends a strict build."""

from __future__ import annotations

import logging
import posixpath
import re
from typing import Any

log = logging.getLogger("mkdocs.hooks.pages")

_LINK = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ *(```+|~~~+)")
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]*\"|<link\b[^>]*>", re.IGNORECASE
)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links that leave docs/ become the path of the file. Those in code blocks are not links."""
    folder = posixpath.dirname(page.file.src_uri)
    lines, fence = [], ""
    for line in markdown.splitlines():
        if found := _FENCE.match(line):
            fence = "" if fence and found[1].startswith(fence) else fence or found[1]
        lines.append(line if fence else _LINK.sub(lambda link: _inside(link, folder), line))
    return "\n".join(lines)


def _inside(link: re.Match[str], folder: str) -> str:
    words, target = link["words"], link["target"].partition("#")[0]
    path = posixpath.normpath(posixpath.join("docs", folder, target))
    if not target or ":" in target or path == "docs" or path.startswith("docs/"):
        return link[0]
    return f"`{path}`" if words.strip("`") == path else f"{words} (`{path}`)"


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Nothing is fetched from elsewhere: no script, style, font or picture."""
    fetched = [found for found in _FETCHED.findall(output) if not found.startswith("<link") or _is_fetched(found)]
    if 'class="mermaid"' in output:
        fetched.append("a mermaid diagram, whose script comes from a CDN")
    for what in fetched:
        log.warning("%s would ask another server: %s", page.file.src_uri, what)
    return output


def _is_fetched(tag: str) -> bool:
    return 'rel="canonical"' not in tag and re.search(r'href="?(?:https?:)?//', tag) is not None
