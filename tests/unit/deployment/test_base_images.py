"""The script that builds stand-ins knows every public image that the shop's files name, and no other."""

from __future__ import annotations

import re

from tests.docker.engine import ROOT, base_images, images_of_the_build


def test_there_is_a_stand_in_for_every_public_image() -> None:
    script = (ROOT / "tests/docker/base_images.sh").read_text()
    names = re.search(r'^NAMES="([^"]*)"', script, re.MULTILINE)
    assert names
    assert set(names[1].split()) == {*base_images().values(), *images_of_the_build()}
    functions = set(re.findall(r"^(\w+)\(\) \{$", script, re.MULTILINE))
    assert {name.split(":")[0] for name in names[1].split()} <= functions
