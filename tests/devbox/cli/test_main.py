"""The root: what it loads, and how errors leave."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devbox.cli import main, reach
from devbox.model import errors
from tests.devbox.cli.conftest import Cli

SERVERS = {
    "aiohttp",
    "asyncssh",
    "cryptography",
    "grpc",
    "pydantic",
    "rich",
    "structlog",
    "websockets",
}
"""What servers need, or a terminal that draws; importing one costs more than a whole command."""
GATEWAY = SERVERS | {"asyncio", "msgspec", "ssl", "uvloop"}
"""And what only those need who ask a gateway."""

_RUN = """
import sys
from devbox.cli import main
code = main.run(sys.argv[1:])
print(code, *sorted(sys.modules), file=sys.stderr)
"""


def loaded(words: list[str]) -> tuple[int, set[str]]:
    """Exit code of a command line run on its own, and the modules it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    code, *modules = done.stderr.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.mark.smoke
@pytest.mark.parametrize(
    "words",
    [["--help"], ["creat"], ["stop", "--help"], ["create", "--help"], ["completion", "bash"]],
)
def test_asking_for_help_loads_nothing_heavy(home: Path, words: list[str]) -> None:
    assert not loaded(words)[1] & GATEWAY


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stop", "hello"], 0),
        (["start", "hello", "--no-wait", "-o", "json"], 0),
        (["list"], 0),
        (["ssh", "nobody", "--", "true"], errors.NotFound.exit_code),
        (["ssh", "--stdio", "nobody"], errors.NotFound.exit_code),
    ],
)
def test_a_command_loads_nothing_that_servers_need(cli: Cli, words: list[str], code: int) -> None:
    cli.ok("create", "hello", "--runtime", "python", "--no-start")
    got, modules = loaded(words)
    assert (got, modules & SERVERS) == (code, set())
    assert "devbox.edge.links" in modules or "--stdio" not in words
    assert "devbox.edge.api" not in modules or "--stdio" not in words


def test_every_command_has_a_help_with_examples(cli: Cli) -> None:
    for name, entry in main.TABLE.items():
        if entry.module.startswith("devbox.cli.server"):
            continue
        page = cli.ok(name, "--help")
        assert f"Usage: devbox {name}" in page
        for inner in re.findall(r"(?m)^  ([a-z]+)  ", page) if "Commands:" in page else []:
            page = cli.ok(name, inner, "--help")
            assert f"  devbox {name} {inner}" in page.partition("Examples:")[2]
        assert "Examples:" in page, name


def test_no_words_at_all_show_the_help(cli: Cli) -> None:
    assert "devbox create hello" in cli.ok()


def test_an_unknown_command_names_its_nearest(cli: Cli) -> None:
    result = cli.run("creat")
    assert result.code == 2
    assert result.err == "error: there is no command 'creat'\nDid you mean create?\n"


def test_an_unknown_option_says_where_help_is(cli: Cli) -> None:
    result = cli.run("list", "--bogus")
    assert result.code == 2
    assert (
        result.err == "error: no such option: --bogus\n`devbox list --help` tells how it is used.\n"
    )


@pytest.mark.parametrize("words", [("-o", "json", "show", "no"), ("show", "no", "--output=json")])
def test_errors_are_json_for_scripts(cli: Cli, words: tuple[str, ...]) -> None:
    result = cli.run(*words)
    assert (result.code, result.out) == (errors.NotFound.exit_code, "")
    assert json.loads(result.err)["code"] == "not_found"


def test_words_behind_two_hyphens_are_not_ours(cli: Cli) -> None:
    assert not main._wants_json(["ssh", "hello", "--", "-o", "json"])


def test_a_fault_of_ours_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(context: object, bearer: str) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(reach, "open_api", boom)
    result = cli.run("list")
    assert result.code == 1
    assert "devbox itself failed: ZeroDivisionError: oh" in result.err
    assert "Traceback" not in result.err


def test_a_fault_of_the_server_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def boom(request: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(cli.orchestrator, "list_projects", boom)
    result = cli.run("list")
    assert (result.code, result.out) == (1, "")
    assert "secret" not in result.err


def test_every_exit_code_is_documented() -> None:
    text = (Path(main.__file__).parents[2] / "docs" / "cli.md").read_text()
    for kind in errors.BY_CODE.values():
        assert re.search(rf"(?m)^\| {kind.exit_code} \|.*`{kind.code}`", text), kind


def test_every_command_is_documented() -> None:
    text = (Path(main.__file__).parents[2] / "docs" / "cli.md").read_text()
    for name in main.TABLE:
        assert re.search(rf"`devbox {name}\b", text), name


def test_every_command_is_told_in_the_docs() -> None:
    told = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    assert [name for name in main.TABLE if f"| `devbox {name}" not in told] == []
