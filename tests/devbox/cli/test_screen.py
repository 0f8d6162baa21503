"""What is seen, on a terminal and without one."""

import re
import sys

import pytest

from devbox.cli.screen import Output, Screen, fail
from devbox.model.errors import NotFound

WIDE = 200


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams say so. Called in the test itself: before it, pytest's streams are others."""
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(WIDE))
    monkeypatch.setenv("TERM", "xterm-256color")


def test_plain_tables_are_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(("name", ">size", "note"), [("a", "1 B", ""), ("longer", "10 GiB", "x y")])
    assert capsys.readouterr().out == (
        "NAME      SIZE  NOTE\na          1 B\nlonger  10 GiB  x y\n"
    )


def test_empty_last_columns_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table(("name", "size", "note"), [("a", "", ""), ("b", "1 B", "")])
    assert capsys.readouterr().out == "NAME  SIZE\na\nb     1 B\n"


def test_tables_show_what_people_named_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Square brackets are no markup of ours."""
    be_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    Screen().table(("name", "note"), [("a", "[bold]x[/bold] [1]")])
    assert "[bold]x[/bold] [1]" in capsys.readouterr().out


def test_a_narrow_terminal_loses_no_column_and_no_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    said = "the registry answered 404 and nothing more was heard of it"
    rows = [("n" * 63, "running", "r" * 40, said), ("short", "stopped", "python", "")]
    Screen().table(("name", "state", "runtime", "message"), rows)
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == ["NAME", "STATE", "RUNTIME"]
    assert sum(line.count("r") for line in lines[1:4] if "short" not in line) >= 40
    assert ["short", "stopped", "python"] in [line.split() for line in lines]
    assert said in " ".join(out.split())


def test_errors_break_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    error = NotFound("one two three four five", "a-very-long-word-of-30-letters x")
    fail(error, as_json=False)
    assert capsys.readouterr().err == (
        "error: one two three\nfour five\na-very-long-word-of-30-letters\nx\n"
    )


EVIL = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\re"


def test_terminals_obey_nothing_that_others_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    for terminal in (False, True):
        if terminal:
            be_a_terminal(monkeypatch)
            monkeypatch.setenv("NO_COLOR", "1")
            screen.pass_on(EVIL)
        screen.say(EVIL)
        screen.note(EVIL)
        screen.table(("name", "message"), [(EVIL, EVIL)])
        with screen.progress("step") as report:
            report(f"{EVIL} [/red] [bold]")
        fail(NotFound(EVIL, EVIL), as_json=False)
        seen = capsys.readouterr()
        for bad in ("\x1b]", "\x07", "\x1b[2Jc", "\x9b"):
            assert bad not in seen.out + seen.err
        assert "owned" in seen.out


def test_a_boxs_colours_are_passed_on_and_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "\x1b[1;31mred\x1b[2J"
    Screen().pass_on(said)
    assert capsys.readouterr().out == f"{said}\n"
    be_a_terminal(monkeypatch)
    Screen().pass_on(said)
    assert capsys.readouterr().out == "\x1b[1;31mred\N{REPLACEMENT CHARACTER}[2J\x1b[0m\n"


def test_colour_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    monkeypatch.delenv("NO_COLOR", raising=False)
    fail(NotFound("gone", "look"), as_json=False)
    assert capsys.readouterr().err == "\x1b[1;31merror:\x1b[0m gone\nlook\n"
    monkeypatch.setenv("NO_COLOR", "1")
    fail(NotFound("gone"), as_json=False)
    assert capsys.readouterr().err == "error: gone\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
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


def test_progress_on_a_terminal_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    be_a_terminal(monkeypatch)
    with Screen().progress("Building") as report:
        report("half", 0.5)
        report("unknown")
    raw = capsys.readouterr().err
    assert "\x1b[" in raw
    assert "Building: unknown" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)


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
