"""The badges say what the repository says of itself."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from badges import FOLDER, ROOT, Badge, badges

BADGES = badges()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("badge", BADGES, ids=lambda badge: badge.file)
def test_a_badge_is_what_would_be_drawn_today_and_the_readme_shows_it(badge: Badge) -> None:
    assert (FOLDER / badge.file).read_text() == badge.svg, "draw them anew: python tests/docs/badges.py"
    assert badge.markdown in README


@pytest.mark.parametrize("badge", BADGES, ids=lambda badge: badge.file)
def test_who_does_not_see_a_badge_is_told_what_it_says(badge: Badge) -> None:
    picture = ElementTree.fromstring(badge.svg)
    assert picture.findtext("{http://www.w3.org/2000/svg}title") == badge.title


def test_there_is_no_other_badge() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {badge.file for badge in BADGES}


def test_version_and_licence_are_those_of_changelogs_and_licence_file() -> None:
    told = {badge.what: badge.value for badge in BADGES}
    for changelog in ("CHANGELOG.md", "engine/CHANGELOG.md"):
        newest = re.search(r"^## (\d\S*)", (ROOT / changelog).read_text(), re.MULTILINE)
        assert newest
        assert newest[1] == told["version"]
    assert told["licence"] == "Apache-2.0"
    for licence in ("LICENSE", "engine/LICENSE"):
        assert (ROOT / licence).read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
