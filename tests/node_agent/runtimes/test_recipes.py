"""Recipes: each is whole, and bad ones are refused by name."""

import msgspec
import pytest

from devbox.model.errors import BadInput
from node_agent.runtimes.recipes import Recipe, built_in, parse
from node_agent.runtimes.trees import apt_status

PROMISED = {"debian", "python", "node", "go", "java", "cpp", "postgres", "mariadb", "redis"}


@pytest.mark.smoke
def test_all_that_is_promised_is_there() -> None:
    assert set(built_in()) == PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_database_runs_its_own_command_and_all_else_is_the_persons(name: str) -> None:
    recipe = built_in()[name]
    database = name in {"postgres", "mariadb", "redis"}
    assert recipe.run_image_command is database
    assert bool(recipe.command) is database
    assert (recipe.user == "devbox") is not database
    assert bool(recipe.ports) is database
    assert all(text.startswith("#!/bin/sh\n") for text in recipe.files.values())
    assert any(entry.startswith("PATH=") for entry in recipe.config.env)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a", "title: [", "runtimes/a.yaml"),
        ("a", "packages: [x]", "title"),
        ("a", "{title: x, packges: [y]}", "packges"),
        ("a", "{title: x, ports: [y]}", "ports"),
        ("A_", "title: x", "A_"),
    ],
)
def test_bad_recipes(name: str, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(name, text)


def test_a_tag_names_all_that_matters() -> None:
    recipe = Recipe(title="x", packages=("a",))
    others = [msgspec.structs.replace(recipe, packages=("b",)), recipe]
    tags = {recipe.tag("s1"), others[0].tag("s1"), others[1].tag("s2")}
    assert len(tags) == 3
    assert recipe.tag("s1") == Recipe(title="x", packages=("a",)).tag("s1")


@pytest.mark.parametrize(
    ("line", "part", "words"),
    [
        ("dlstatus:1:50.0:Retrieving file 1 of 2\n", 0.4, "downloading packages"),
        ("pmstatus:tree:100.0:Installed tree: a\n", 0.85, "Installed tree: a"),
    ],
)
def test_apts_status_is_progress(line: str, part: float, words: str) -> None:
    step = apt_status(line)
    assert step is not None
    assert step[0] == pytest.approx(part)
    assert step[1] == words


@pytest.mark.parametrize("line", ["", "pmerror:tree:1.0:x", "pmstatus:tree:x:y", "noise"])
def test_other_lines_are_none(line: str) -> None:
    assert apt_status(line) is None
