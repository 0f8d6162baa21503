"""What a box's own devbox.yaml may ask for, and what it cannot trick the saver into."""

import os
from pathlib import Path

import pytest

from node_agent.saver.wishes import Wishes, read_wishes

GOOD = """
saves: {exclude: [.cache/, /var/cache/apt]}
releases: {exclude: [.env, "*.key"]}
"""


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "fs" / "project").mkdir(parents=True)
    return tmp_path / "fs"


def said(upper: Path, text: str) -> Wishes:
    (upper / "project" / "devbox.yaml").write_text(text)
    found = read_wishes(upper)
    assert found is not None
    return found


def test_paths_are_the_projects_unless_they_are_absolute(upper: Path) -> None:
    assert said(upper, GOOD) == Wishes(
        saves=("/project/.cache", "/var/cache/apt"), releases=("/project/.env", "/project/*.key")
    )


@pytest.mark.parametrize("text", ["", "a: 1", "saves: {}", "saves:", "[]", "saves: {exclude: []}"])
def test_a_file_that_leaves_nothing_out_is_fine(upper: Path, text: str) -> None:
    assert said(upper, text) == Wishes()


@pytest.mark.parametrize(
    "text",
    [
        "saves: {exclude: [",
        "saves: {exclude: x}",
        "saves: {exclude: [1]}",
        'saves: {exclude: ["/*"]}',
        "saves: {exclude: [/project]}",
        "saves: {exclude: ['*.yaml']}",
        "releases: {exclude: [/]}",
        "[" * 20000,
        "#" * (65 << 10),
        "saves: {exclude: [" + "a," * 101 + "]}",
        "!!python/object/apply:os.system ['true']",
    ],
)
def test_a_bad_file_is_told_and_leaves_nothing_out(upper: Path, text: str) -> None:
    found = said(upper, text)
    assert (found.saves, found.releases) == ((), ())
    assert found.mistake.startswith("/project/devbox.yaml cannot be understood: ")


def test_links_pipes_and_directories_are_not_read(upper: Path, tmp_path: Path) -> None:
    file = upper / "project" / "devbox.yaml"
    secret = tmp_path / "secret"
    secret.write_text(GOOD)
    file.symlink_to(secret)
    assert "no plain file" in (read_wishes(upper) or Wishes()).mistake
    file.unlink()
    os.mkfifo(file)
    assert "no plain file" in (read_wishes(upper) or Wishes()).mistake
    file.unlink()
    file.mkdir()
    assert "no plain file" in (read_wishes(upper) or Wishes()).mistake
    file.rmdir()
    assert read_wishes(upper) is None
    (upper / "project").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "devbox.yaml").write_text(GOOD)
    (upper / "project").symlink_to(tmp_path / "elsewhere")
    assert read_wishes(upper) is None


@pytest.mark.root
def test_a_deleted_file_leaves_nothing_out(upper: Path) -> None:
    os.mknod(upper / "project" / "devbox.yaml", 0o020000, 0)
    assert read_wishes(upper) == Wishes()
