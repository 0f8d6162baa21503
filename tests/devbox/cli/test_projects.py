"""Projects, as a person sees them."""

import json
import re

import msgspec
import pytest

from devbox.cli import wait
from devbox.cli.config import Credentials
from devbox.cli.options import complete_projects
from devbox.model import errors
from devbox.model.orchestrator import ProjectKey, Runtimes
from devbox.model.projects import Desired, Phase, Project
from devbox.model.runtimes import Runtime, RuntimeState
from tests.devbox.cli.conftest import Cli


@pytest.mark.smoke
def test_create_tells_the_address_once_and_keeps_the_token(cli: Cli) -> None:
    out = cli.ok("create", "hello", "--runtime", "python")
    token = Credentials.read().project("work", "default/hello")
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert out == (
        "Address (a secret: it opens the project to whoever has it; shown once):\n"
        f"  ws://devbox.test/home/here/default/hello/{token}\n"
        f"  /home/here/default/hello/{token}\n"
        "\n"
        "hello is ready (0.00 s).\n"
    )
    assert token not in cli.ok("show", "hello")
    assert complete_projects("he") == ["hello"]


def test_create_for_scripts(cli: Cli) -> None:
    found = json.loads(cli.ok("create", "team/hello", "--runtime", "python", "-o", "json"))
    assert found["project"]["namespace"] == "team"
    assert found["project"]["status"]["phase"] == "running"
    assert found["url"] == "ws://devbox.test" + found["address"]


def test_create_passes_on_what_was_typed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKEN", "from here")
    cli.ok(
        *("create", "web", "--image", "example.com/web:3", "--memory", "2G", "--cpus", "1.5"),
        *("--quota", "30G"),
        *("--port", "80:web", "--env", "A=1", "--env", "TAKEN", "--autosave", "0"),
        *("--when-busy", "per-file", "--run-image-command", "--no-start"),
    )
    _, request = next(c for c in cli.orchestrator.calls if c[0] == "create_project")
    assert msgspec.to_builtins(request) == {
        "namespace": "default",
        "name": "web",
        "start": False,
        "spec": {
            "runtime": "image:example.com/web:3",
            "resources": {"cpus": 1.5, "memory_bytes": 2 << 30, "disk_bytes": 30 << 30},
            "ports": ({"port": 80, "name": "web"},),
            "env": {"A": "1", "TAKEN": "from here"},
            "run_image_command": True,
            "autosave_minutes": 0,
            "when_busy": "per-file",
        },
    }


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("hello", "--runtime", "a", "--image", "b"), 2, "contradict each other"),
        (("hello", "--runtime", "cobol"), 4, "cobol"),
        (("Hello",), 2, "'Hello' is not a valid name"),
        (("taken",), 5, "taken"),
        (("hello", "--memory", "much"), 2, "'much' is not a size"),
        (("hello", "--when-busy", "wait"), 2, "'wait' is unknown"),
        (("a/hello", "-n", "b"), 2, "contradict"),
    ],
)
def test_create_refuses_with_one_sentence(
    cli: Cli, words: tuple[str, ...], code: int, says: str
) -> None:
    cli.ok("create", "taken", "--no-start")
    result = cli.run("create", *words)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("error: ")
    assert says in result.err.splitlines()[0]


def test_a_project_whose_runtime_cannot_be_had_is_not_made(cli: Cli) -> None:
    cli.orchestrator.node_works = False
    original = cli.orchestrator.get_project
    runtime = Runtime(
        name="app-1",
        source="example.com/app:1",
        state=RuntimeState.FAILED,
        message="there is no image example.com/app:1.",
        code="not_found",
    )

    async def failing(request):  # type: ignore[no-untyped-def]
        cli.orchestrator.set_status(request, phase=Phase.FAILED, message="no runtime")
        return msgspec.structs.replace(await original(request), generation=0)

    async def list_runtimes(request):  # type: ignore[no-untyped-def]
        return Runtimes(runtimes=(runtime,))

    cli.monkeypatch.setattr("devbox.cli.wait._BELIEVE_S", 0.0)
    cli.monkeypatch.setattr(cli.orchestrator, "get_project", failing)
    cli.monkeypatch.setattr(cli.orchestrator, "list_runtimes", list_runtimes)
    result = cli.run("create", "hello", "--image", "example.com/app:1")
    assert result.code == 4
    what = "error: hello was not made: there is no image example.com/app:1"
    assert what in result.err.splitlines()
    assert "delete_project" in [name for name, _ in cli.orchestrator.calls]
    assert not Credentials.read().project("work", "default/hello")


def test_a_box_that_does_not_start_keeps_the_address(cli: Cli) -> None:
    cli.orchestrator.node_works = False
    original = cli.orchestrator.get_project

    async def failing(request):  # type: ignore[no-untyped-def]
        cli.orchestrator.set_status(
            request, phase=Phase.BACKING_OFF, message="its command ends with status 3"
        )
        return msgspec.structs.replace(await original(request), generation=1)

    cli.monkeypatch.setattr(cli.orchestrator, "get_project", failing)
    result = cli.run("create", "hello")
    assert result.code == 6
    assert "ws://devbox.test/" in result.out
    assert result.err.splitlines() == [
        "Starting hello: its command ends with status 3",
        "error: hello does not start: its command ends with status 3",
        "Its files are kept. `devbox logs hello` shows what it wrote.",
    ] or result.err.splitlines()[-2:] == [
        "error: hello does not start: its command ends with status 3",
        "Its files are kept. `devbox logs hello` shows what it wrote.",
    ]


def test_list(cli: Cli) -> None:
    assert cli.run("list").err == "There is no project yet. `devbox create hello` makes one.\n"
    cli.ok("create", "hello", "--runtime", "python")
    cli.ok("create", "team/db", "--runtime", "postgres", "--no-start")
    lines = cli.ok("list").splitlines()
    assert lines[0].startswith("NAME   NAMESPACE  STATE    RUNTIME   SINCE")
    assert lines[1].split()[:4] == ["hello", "default", "running", "python"]
    assert lines[2].split()[:4] == ["db", "team", "stopped", "postgres"]
    assert len(cli.ok("list", "--namespace", "team").splitlines()) == 2
    assert [p["name"] for p in json.loads(cli.ok("list", "-o", "json"))["projects"]] == [
        "hello",
        "db",
    ]


def test_show_says_all_but_secrets(cli: Cli) -> None:
    cli.ok("create", "hello", "--port", "80:web", "--env", "KEY=hush", "--cpus", "2")
    out = cli.ok("show", "hello")
    assert "Project:       default/hello" in out
    assert "State:         running" in out
    assert "Limits:        2 CPUs" in out
    assert "Ports:         80 (web)" in out
    assert "Environment:   KEY" in out
    assert "hush" not in out


def test_edit_changes_only_what_was_said(cli: Cli) -> None:
    cli.ok("create", "hello", "--env", "A=1", "--env", "B=2", "--cpus", "2")
    cli.ok("edit", "hello", "--memory", "4G", "--env", "C=3", "--unset-env", "A")
    project = json.loads(cli.ok("show", "hello", "-o", "json"))
    assert project["spec"]["env"] == {"B": "2", "C": "3"}
    assert project["spec"]["resources"] == {
        "cpus": 2.0,
        "memory_bytes": 4 << 30,
        "disk_bytes": 0,
    }
    cli.ok("edit", "hello", "--quota", "1G")
    assert "1.0 GiB" in cli.ok("show", "hello")
    assert cli.run("edit", "hello").code == 2


def test_delete_asks_for_the_name(cli: Cli) -> None:
    cli.ok("create", "hello")
    refused = cli.run("delete", "hello")
    assert refused.code == 2
    assert "Scripts say --yes." in refused.err
    assert cli.ok("delete", "hello", "--yes") == "hello is gone.\n"
    assert Credentials.read().project("work", "default/hello") == ""
    assert complete_projects("") == []
    missing = cli.run("delete", "hello", "--yes")
    assert (missing.code, missing.out) == (4, "")


def test_delete_takes_only_the_right_name(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.ok("create", "hello")
    typed = iter(["helo", "hello"])
    monkeypatch.setattr("devbox.cli.projects.interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    wrong = cli.run("delete", "hello")
    assert (wrong.code, wrong.err) == (2, "error: that is not its name\nNothing was done.\n")
    assert "This deletes default/hello, its files, for ever." in wrong.out
    assert cli.ok("delete", "hello").endswith("hello is gone.\n")


def test_a_project_token_is_enough_for_its_project(cli: Cli) -> None:
    cli.ok("create", "hello")
    token = Credentials.read().project("work", "default/hello")
    from devbox.cli import config

    Credentials({}, Credentials.read().projects).write()
    assert config.choose("")[1] == ""
    cli.ok("show", "hello")
    assert cli.bearers[-1] == token
    refused = cli.run("list")
    assert refused.code == 3
    assert "devbox login http://devbox.test --name work" in refused.err


def test_a_stop_that_hangs_ends_with_a_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(request: ProjectKey) -> Project:
        return cli.orchestrator.set_status(request, phase=Phase.STOPPING)

    cli.ok("create", "hello", "--runtime", "python")
    monkeypatch.setattr(cli.orchestrator, "stop_project", hang)
    monkeypatch.setattr(wait, "DOWN_S", 0.1)
    for words in (("stop", "hello"), ("stop", "hello", "--wait")):
        result = cli.run(*words)
        assert (result.code, result.out) == (errors.Unavailable.exit_code, "")
        assert "hello is not down after 0 s" in result.err
        assert "Its files are kept, and it goes on stopping by itself." in result.err


def test_stop_says_that_the_save_goes_on(cli: Cli) -> None:
    cli.ok("create", "hello")
    result = cli.run("stop", "hello")
    assert result.out == "hello is down (0.00 s).\n"
    assert result.err == "Its save goes on behind it: devbox saves hello\n"
    assert cli.ok("start", "hello") == "hello is ready (0.00 s).\n"
    project = json.loads(cli.ok("show", "hello", "-o", "json"))
    assert (project["desired"], project["generation"]) == (Desired.RUNNING, 2)


def test_logs(cli: Cli) -> None:
    cli.ok("create", "db")
    cli.orchestrator.set_logs(cli.key("db"), "one", "two", "three")
    assert cli.ok("logs", "db", "--lines", "2") == "two\nthree\n"
    assert json.loads(cli.ok("logs", "db", "-o", "json")) == {"lines": ["one", "two", "three"]}
