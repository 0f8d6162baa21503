"""The demo's telling: its steps are proven on a real server, by `make demo`."""

import json
from collections.abc import Callable

import pytest

from devbox.cli import demo
from devbox.cli.story import Broken, Story, run
from tests.devbox.cli.conftest import Cli


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let the demo tell these steps; answers what was cleaned up."""

    def tell(*steps: Callable[[Story], str]) -> list[str]:
        cleaned: list[str] = []

        def clean_up(story: Story) -> list[str]:
            cleaned.extend(story.made)
            return []

        titled = tuple((step.__name__, step) for step in steps)
        monkeypatch.setattr(demo, "STEPS", titled)
        monkeypatch.setattr(Story, "clean_up", clean_up)
        return cleaned

    return tell


def makes(story: Story) -> str:
    story.made.append("made")
    return "it was made"


def breaks(story: Story) -> str:
    raise Broken("exit status 1, not 0: oh")


def test_a_story_that_holds(cli: Cli, telling: Callable[..., list[str]]) -> None:
    cleaned = telling(makes, makes)
    lines = cli.ok("demo").splitlines()
    assert lines[0].split() == ["ok", "1.", "makes", "0.00", "s"]
    assert lines[1].strip() == "it was made"
    assert lines[-1] == "The story holds (0.00 s)."
    assert cleaned == ["made", "made"]


def test_a_step_that_breaks_ends_it_and_is_cleaned_up(
    cli: Cli, telling: Callable[..., list[str]]
) -> None:
    cleaned = telling(makes, breaks, makes)
    result = cli.run("demo", "--output", "json")
    told = json.loads(result.out)
    assert (result.code, told["ok"]) == (1, False)
    assert [(step["step"], step["ok"]) for step in told["steps"]] == [
        ("makes", True),
        ("breaks", False),
    ]
    assert told["steps"][1]["detail"] == "exit status 1, not 0: oh"
    assert cleaned == ["made"]


def test_keep_leaves_the_projects(cli: Cli, telling: Callable[..., list[str]]) -> None:
    cleaned = telling(makes)
    result = cli.run("demo", "--keep")
    assert cleaned == []
    assert result.err.splitlines()[-1] == "Left in place: made"


def test_a_program_is_judged_by_its_status() -> None:
    assert run(["sh", "-c", "cat; exit 3"], status=3, stdin="in") == "in"
    with pytest.raises(Broken, match="exit status 4, not 0: oh"):
        run(["sh", "-c", "echo oh >&2; exit 4"])
