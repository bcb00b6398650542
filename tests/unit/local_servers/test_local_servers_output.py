"""What a process says is kept, and does not fill the disk."""

from __future__ import annotations

from pathlib import Path

from local_servers.output import Output


def test_the_files_of_a_process_that_never_stops_talking_stay_small(tmp_path: Path) -> None:
    output = Output("talker", tmp_path, None, largest=1000)
    for number in range(500):
        output.add(f"line {number}")
    output.close()
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert files.keys() == {"talker.log", "talker.previous.log"}
    assert all(size < 1100 for size in files.values()), files
    lines = (tmp_path / "talker.previous.log").read_text() + (tmp_path / "talker.log").read_text()
    assert lines.splitlines()[-3:] == ["line 497", "line 498", "line 499"]
    assert len(lines.splitlines()) > 100, "the newest are in one of the two files, and none of them twice"
    assert len(set(lines.splitlines())) == len(lines.splitlines())


def test_the_file_of_the_start_before_is_kept(tmp_path: Path) -> None:
    for start in ("first", "second", "third"):
        output = Output("talker", tmp_path, None)
        output.add(start)
        output.close()
    assert (tmp_path / "talker.log").read_text() == "third\n"
    assert (tmp_path / "talker.previous.log").read_text() == "second\n"
