"""Files of the person's own."""

import os
import threading
from pathlib import Path

import pytest

from devbox.cli import files
from devbox.model.errors import BadInput


def test_a_new_file_has_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    files.write_atomically(path, "x", 0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("x", 0o600)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    files.write_atomically(link, "new", 0o600)
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        files.write_atomically(path, "new", 0o600)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_readers_see_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = {"a" * 50_000, "b" * 50_000}
    files.write_atomically(path, "a" * 50_000, 0o600)
    seen: set[str] = set()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        files.write_atomically(path, "ab"[number % 2] * 50_000, 0o600)
    over.set()
    reader.join()
    assert seen <= texts


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")

    def add() -> None:
        for _ in range(25):
            with files.locked(tmp_path):
                path.write_text(str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "100"


def test_xdg_directories_are_respected_and_relative_ones_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert files.config_directory() == tmp_path / "devbox"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert files.config_directory() == Path("/home/anna/.config/devbox")
