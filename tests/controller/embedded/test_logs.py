"""CRI's log files, as the lines that were written."""

from pathlib import Path

import pytest

from controller.embedded import logs

_AT = b"2026-01-01T00:00:00.000000000Z"


def write(root: Path, *rows: bytes) -> None:
    folder = logs.directory(root, "pod")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "box.log").write_bytes(b"".join(_AT + b" " + row + b"\n" for row in rows))


def test_parts_become_one_line_and_streams_keep_their_order(tmp_path: Path) -> None:
    write(tmp_path, b"stdout F one", b"stderr P tw", b"stderr F o", b"stdout F ", b"stdout F a b ")
    assert logs.last_lines(tmp_path, "pod", 10) == ("one", "two", "", "a b ")
    assert logs.last_lines(tmp_path, "pod", 2) == ("", "a b ")


def test_nothing_written_is_no_error(tmp_path: Path) -> None:
    assert logs.last_lines(tmp_path, "pod", 10) == ()
    assert logs.last_lines(tmp_path, "", 10) == ()
    write(tmp_path)
    assert logs.last_lines(tmp_path, "pod", 10) == ()


def test_foreign_bytes_and_broken_rows_are_taken(tmp_path: Path) -> None:
    write(tmp_path, b"stdout F caf\xe9", b"broken", b"stdout P open")
    assert logs.last_lines(tmp_path, "pod", 10) == ("caf�", "open")


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, *(b"stdout F " + b"x" * 1000 for _ in range(2000)), b"stdout F last")
    lines = logs.last_lines(tmp_path, "pod", 5000)
    assert lines[-1] == "last"
    assert 900 < len(lines) < 1100
    assert set(lines[:-1]) == {"x" * 1000}


def test_a_long_file_is_turned_over_and_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 100)
    assert not logs.turn_over(tmp_path, "pod")
    write(tmp_path, b"stdout F short")
    assert not logs.turn_over(tmp_path, "pod")
    write(tmp_path, b"stdout F one", b"stdout F two", b"stdout F three")
    assert logs.turn_over(tmp_path, "pod")
    write(tmp_path, b"stdout F four")
    assert logs.last_lines(tmp_path, "pod", 2) == ("three", "four")
    logs.remove(tmp_path, "pod")
    assert logs.last_lines(tmp_path, "pod", 2) == ()
