"""What is seen, on a terminal and without one."""

import re

import pytest

from devbox.cli.screen import Output, Screen, fail
from devbox.model.errors import NotFound

WIDE = 200


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both streams say that they are terminals."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(WIDE))
    monkeypatch.setenv("TERM", "xterm-256color")


def test_plain_tables_are_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(("name", ">size", "note"), [("a", "1 B", ""), ("longer", "10 GiB", "x y")])
    assert capsys.readouterr().out == (
        "NAME      SIZE  NOTE\na          1 B\nlonger  10 GiB  x y\n"
    )


def test_tables_show_what_people_named_as_it_is(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Square brackets are no markup of ours."""
    monkeypatch.setenv("NO_COLOR", "1")
    Screen().table(("name", "note"), [("a", "[bold]x[/bold] [1]")])
    assert "[bold]x[/bold] [1]" in capsys.readouterr().out


def test_colour_only_where_it_is_wanted(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    fail(NotFound("gone", "look"), as_json=False)
    assert capsys.readouterr().err == "\x1b[1;31merror:\x1b[0m gone\nlook\n"
    monkeypatch.setenv("NO_COLOR", "1")
    fail(NotFound("gone"), as_json=False)
    assert capsys.readouterr().err == "error: gone\n"


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().progress("Building") as report:
        report("")
        report("waiting")
        report("waiting")
        for percent in range(0, 101, 2):
            report(f"package {percent}", percent / 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["Building: waiting", "Building: package 0 (0%)"]
    assert len(lines) == 12


def test_progress_on_a_terminal_moves(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().progress("Building") as report:
        report("half", 0.5)
        report("unknown")
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "Building: unknown" in seen


@pytest.mark.parametrize("screen", [Screen(quiet=True), Screen(Output.JSON)])
def test_quiet_and_json_have_no_progress_and_no_remarks(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    with screen.progress("Building") as report:
        report("half", 0.5)
    screen.note("by the way")
    assert capsys.readouterr().err == ""


def test_interrupted_says_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.goes_on("The save goes on."):
        screen.interrupted()
    screen.interrupted()
    assert capsys.readouterr().err == "\nInterrupted. The save goes on.\n\nInterrupted.\n"
