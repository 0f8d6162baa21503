"""A project of another's files, as a person sees it."""

import json
from typing import Any

import pytest

from tests.devbox.cli.conftest import Cli


def told(cli: Cli, *words: str) -> Any:
    return json.loads(cli.ok(*words, "--output", "json"))


@pytest.mark.smoke
def test_a_clone_begins_with_a_save_of_now_and_the_same_settings(cli: Cli) -> None:
    cli.ok("create", "hello", "--port", "8000:web", "--env", "A=b")
    result = cli.run("clone", "hello", "copy")
    assert result.code == 0, result.err
    assert "copy begins with save 1 of hello." in result.out
    assert "/copy/" in result.out
    shown = told(cli, "show", "copy")
    assert shown["spec"]["runtime"].endswith("/hello@save-1")
    assert shown["spec"]["ports"] == [{"port": 8000, "name": "web"}]
    assert shown["spec"]["env"] == {"A": "b"}
    assert shown["status"]["phase"] == "running"


def test_a_clone_of_an_older_save_makes_no_save(cli: Cli) -> None:
    cli.ok("create", "hello")
    cli.run("save", "hello")
    cli.run("save", "hello")
    result = cli.run("clone", "hello", "copy", "--save", "1", "--no-start")
    assert result.code == 0, result.err
    assert len(told(cli, "saves", "hello")["saves"]) == 2
    assert told(cli, "show", "copy")["status"]["phase"] == "stopped"


def test_what_is_not_there_cannot_be_cloned(cli: Cli) -> None:
    cli.ok("create", "hello", "--no-start")
    result = cli.run("clone", "hello", "copy")
    assert result.code == 5
    assert "never ran" in result.err
    result = cli.run("clone", "hello", "copy", "--save", "7")
    assert result.code == 4
    assert "there is no save" in result.err
