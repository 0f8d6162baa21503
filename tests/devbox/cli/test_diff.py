"""What changed between saves, as a person sees it."""

import json

import pytest

from devbox.model.orchestrator import DiffSaves
from devbox.model.saves import Change, PathChange, SaveDiff
from tests.devbox.cli.conftest import Cli

FOUND = SaveDiff(
    older=1,
    newer=3,
    changes=(
        PathChange(path="/project/a", change=Change.ADDED, new_bytes=2048),
        PathChange(path="/project/b", change=Change.CHANGED, old_bytes=1, new_bytes=2),
        PathChange(path="/project/c", change=Change.DELETED, old_bytes=5),
    ),
    added=1,
    changed=1,
    deleted=9,
    next_after="/project/c",
)


@pytest.fixture
def asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[DiffSaves]:
    """The questions; the answer is always the same."""
    cli.ok("create", "hello")
    found: list[DiffSaves] = []

    async def diff_saves(request: DiffSaves) -> SaveDiff:
        found.append(request)
        return FOUND

    monkeypatch.setattr(cli.orchestrator, "diff_saves", diff_saves)
    return found


@pytest.mark.smoke
def test_changes_are_a_table_and_a_sum(cli: Cli, asked: list[DiffSaves]) -> None:
    result = cli.run("saves", "diff", "hello", "1", "3", "--limit", "3")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()][1:]
    assert lines == [
        ["+", "-", "2.0", "KiB", "/project/a"],
        ["~", "1", "B", "2", "B", "/project/b"],
        ["-", "5", "B", "-", "/project/c"],
    ]
    assert "From save 1 to 3: 1 added, 1 changed, 9 deleted." in result.err
    assert "--after '/project/c'" in result.err
    assert [(one.older, one.newer, one.limit, one.after) for one in asked] == [(1, 3, 3, "")]


def test_one_save_alone_is_compared_with_the_newest(cli: Cli, asked: list[DiffSaves]) -> None:
    found = json.loads(cli.ok("--quiet", "saves", "diff", "hello", "1", "-o", "json"))
    assert found["changes"][0] == {
        "path": "/project/a",
        "change": "added",
        "old_bytes": 0,
        "new_bytes": 2048,
    }
    assert asked[0].newer == 0


def test_saves_that_are_the_same_say_so(cli: Cli) -> None:
    cli.ok("create", "hello")
    cli.run("save", "hello")
    result = cli.run("saves", "diff", "hello", "1")
    assert "Saves 1 and 1 hold the same files." in result.err


def test_a_project_may_be_called_diff(cli: Cli) -> None:
    cli.ok("create", "diff")
    result = cli.run("saves", "diff")
    assert (result.code, result.err) == (0, "diff has no save yet. `devbox save diff` makes one.\n")


def test_help_of_two_words(cli: Cli) -> None:
    assert "saves diff" in cli.ok("saves", "diff", "--help")
