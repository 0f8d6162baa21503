"""`devbox open` and `devbox exec`: the right URL, the right entry, one clear error."""

import subprocess
from pathlib import Path

import pytest

from devbox.cli.open import Ide, url_of
from devbox.cli.ssh import as_one_line
from tests.devbox.cli.conftest import Cli

GATEWAY = (
    "jetbrains-gateway://connect#type=ssh&deploy=false&host=a.b.devbox&port=22&user=devbox"
    "&projectPath=/project/a%20b"
)


@pytest.mark.parametrize(
    ("ide", "url"),
    [
        (Ide.VSCODE, "vscode://vscode-remote/ssh-remote+a.b.devbox/project/a%20b"),
        (Ide.CURSOR, "cursor://vscode-remote/ssh-remote+a.b.devbox/project/a%20b"),
        (
            Ide.JETBRAINS,
            GATEWAY,
        ),
    ],
)
def test_urls(ide: Ide, url: str) -> None:
    assert url_of(ide, "a.b.devbox", "/project/a b", "devbox") == url


def test_open_prints_the_url_and_writes_the_entry(cli: Cli, home: Path) -> None:
    cli.ok("create", "hello", "--no-start")
    out = cli.ok("open", "hello", "--print", "--folder", "/project")
    assert out == "vscode://vscode-remote/ssh-remote+hello.default.devbox/project\n"
    assert "hello.default.devbox" in (home / ".config/devbox/ssh_config").read_text()
    assert "Include" in (home / ".ssh/config").read_text()


def test_open_of_nothing(cli: Cli) -> None:
    assert cli.run("open", "nobody", "--print").code == 4


@pytest.mark.parametrize(
    "words",
    [("bash", "-c", "cd /tmp && pwd"), ("printf", "%s", "it's", "", "$HOME *"), ("ls", "-l")],
)
def test_exec_keeps_words_apart(words: tuple[str, ...]) -> None:
    told = subprocess.run(
        ["sh", "-c", as_one_line(("printf", "<%s>", *words))], capture_output=True, text=True
    )
    assert told.stdout == "".join(f"<{word}>" for word in words)
    assert as_one_line(("cd /project && make",)) == "cd /project && make"


def test_exec_needs_a_command(cli: Cli) -> None:
    cli.ok("create", "hello", "--no-start")
    result = cli.run("exec", "hello")
    assert result.code == 2
    assert "there is no command" in result.err
