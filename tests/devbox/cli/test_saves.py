"""Saves and releases, as a person sees them."""

import json

import msgspec
import pytest

from devbox.model.orchestrator import AskedSave, Saves
from devbox.model.saves import Save, SaveReason, SaveStep
from tests.devbox.cli.conftest import Cli

NEW = Save(
    project_uid="p",
    seq=1,
    generation=1,
    reason=SaveReason.ASKED,
    step=SaveStep.INTENT,
    order_id="order",
    started_at=1.0,
)
DONE = msgspec.structs.replace(
    NEW,
    step=SaveStep.RECORDED,
    new_bytes=80 << 20,
    total_bytes=300 << 20,
    layers=2,
    duration_s=0.42,
    frozen_ms=21.0,
    digest="sha256:" + "ab" * 32,
)


@pytest.fixture
def play(cli: Cli, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Let the next looks at the saves show these, one after another; the last one stays."""
    monkeypatch.setattr("devbox.cli.wait._SAVE_POLL_S", 0.0)
    cli.ok("create", "hello")

    def script(*looks: tuple[Save, ...]) -> None:
        left = list(looks)

        async def list_saves(request: object) -> Saves:
            return Saves(saves=left.pop(0) if len(left) > 1 else left[0])

        async def ask_save(request: object) -> AskedSave:
            return AskedSave(order_id="order")

        monkeypatch.setattr(cli.orchestrator, "list_saves", list_saves)
        monkeypatch.setattr(cli.orchestrator, "ask_save", ask_save)

    return script


def moved(save: Save, **changes: object) -> Save:
    return msgspec.structs.replace(save, **changes)


def test_save_tells_how_far_it_is(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    half = moved(NEW, done_bytes=50 << 20, expected_bytes=100 << 20)
    play((), (NEW,), (half,), (moved(half, step=SaveStep.PUSHED),), (DONE,))
    result = cli.run("save", "hello")
    assert result.out == "Save 1 is recorded: 80 MiB in 0.00 s, box frozen for 21 ms.\n"
    assert result.err.splitlines() == [
        "Saving hello: waiting for its turn",
        "Saving hello: writing, 0 B",
        "Saving hello: writing, 50 MiB (50%)",
        "Saving hello: recording (100%)",
    ]


def test_a_save_that_failed_says_what_is_safe(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    play((moved(NEW, step=SaveStep.FAILED, note="the registry does not answer"),))
    result = cli.run("save", "hello")
    assert (result.code, result.out) == (6, "")
    what, safe = result.err.splitlines()
    assert what == "error: save 1 failed: the registry does not answer"
    assert safe.startswith("The files are kept on their node, and the save is tried again")


@pytest.mark.parametrize("words", [("stop", "hello", "--wait"), ("save", "hello")])
def test_a_save_behind_one_that_fails_is_not_waited_for(cli: Cli, play, words) -> None:  # type: ignore[no-untyped-def]
    before = moved(NEW, order_id="", step=SaveStep.FAILED, note="the registry does not answer")
    play((before,), (moved(NEW, seq=2), before))
    result = cli.run(*words)
    assert result.code == 6
    assert "error: save 1 failed: the registry does not answer\n" in result.err


def test_a_joined_save_is_the_newer_one(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    play((moved(DONE, seq=2, order_id=""), moved(NEW, step=SaveStep.DROPPED)))
    assert cli.ok("save", "hello").startswith("Save 2 is recorded")


def test_saves_shows_progress_then_the_record(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    play((moved(NEW, seq=2, done_bytes=42, expected_bytes=100), DONE))
    head, busy, done = cli.ok("saves", "hello").splitlines()
    assert head.split()[:6] == ["SAVE", "STATE", "REASON", "BEGUN", "TOOK", "ADDED"]
    assert "in progress 42%" in busy
    assert done.split()[:3] == ["1", "recorded", "asked"]
    assert "0.00 s  80 MiB  300 MiB       2  abababab" in done


def test_saves_ends_with_what_they_took(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    newest = moved(DONE, seq=2, new_bytes=20 << 20, total_bytes=320 << 20, layers=3)
    play((moved(NEW, seq=3), newest, DONE))
    assert cli.run("saves", "hello").err == (
        "These 2 recorded saves added 100 MiB, most of it save 1 (80 MiB); "
        "the newest is 320 MiB in 3 layers.\n"
    )


def test_stop_and_wait_for_the_save(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    play((), (NEW,), (DONE,))
    result = cli.run("stop", "hello", "--wait")
    assert result.out == "Save 1 is recorded: 80 MiB in 0.00 s.\n"
    assert result.err.splitlines()[0] == "hello is down (0.00 s)."


def test_stop_and_wait_where_nothing_changed(cli: Cli, play, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("devbox.cli.wait.APPEAR_S", 0.0)
    play((DONE,))
    said = "No save was begun: nothing seems to have changed.\n"
    assert cli.ok("stop", "hello", "--wait") == said


def test_stopping_what_is_down_waits_only_for_its_save(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    cli.ok("stop", "hello")
    play((NEW,), (DONE,))
    assert cli.ok("stop", "hello", "--wait").startswith("Save 1 is recorded")


def test_no_wait_says_where_to_look(cli: Cli, play) -> None:  # type: ignore[no-untyped-def]
    play(())
    out = cli.ok("save", "hello", "--no-wait")
    assert out == "The save of hello has begun: devbox saves hello\n"


def test_a_release_is_made_once(cli: Cli) -> None:
    cli.ok("create", "hello")
    made = cli.run("release", "hello", "v1", "--notes", "First\nthat works")
    assert made.out.startswith("hello:v1 is released: save 1, ")
    assert made.err.splitlines()[-1] == "Next: devbox create another --runtime hello:v1"
    again = cli.run("release", "hello", "v1")
    assert (again.code, again.err) == (
        5,
        "Releasing hello: v1\nerror: version v1 exists\nA release never changes.\n",
    )
    head, row = cli.ok("releases", "hello").splitlines()
    assert head.split() == ["VERSION", "RELEASED", "SAVE", "SIZE", "DIGEST", "NOTES"]
    assert row.endswith("  First")
    assert json.loads(cli.ok("releases", "hello", "-o", "json"))["releases"][0]["version"] == "v1"


def test_a_bad_version_is_refused_here(cli: Cli) -> None:
    cli.ok("create", "hello")
    result = cli.run("release", "hello", "v 1")
    assert result.code == 2
    assert not any(name == "make_release" for name, _ in cli.orchestrator.calls)
