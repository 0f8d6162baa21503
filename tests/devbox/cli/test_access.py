"""Tokens, users, runtimes, contexts."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from devbox.cli.config import Config, Context, Credentials
from tests.devbox.cli.conftest import URL, Cli

VERSION = version("devbox")


def test_a_new_token_is_a_new_address(cli: Cli) -> None:
    cli.ok("create", "hello")
    kept = Credentials.read().project("work", "default/hello")
    out = cli.ok("token", "new", "hello", "--name", "ci", "--scope", "ssh", "--lifetime", "12h")
    assert "ws://devbox.test/home/here/default/hello/" in out
    assert kept not in out
    assert Credentials.read().project("work", "default/hello") == kept
    listed = cli.ok("token", "list", "hello").splitlines()
    assert listed[2].split()[1:3] == ["ci", "ssh"]
    assert listed[2].endswith("in 12.0 h")


def test_rotating_keeps_the_new_token(cli: Cli) -> None:
    cli.ok("create", "hello")
    before = Credentials.read().project("work", "default/hello")
    found = json.loads(cli.ok("token", "rotate", "hello", "-o", "json"))
    after = Credentials.read().project("work", "default/hello")
    assert found["address"].endswith(after)
    assert before != after


def test_a_revoked_token_is_gone(cli: Cli) -> None:
    cli.ok("create", "hello")
    (one,) = json.loads(cli.ok("token", "list", "hello", "-o", "json"))["tokens"]
    assert cli.ok("token", "revoke", "hello", one["id"]) == f"Token {one['id']} is revoked.\n"
    assert cli.run("token", "revoke", "hello", one["id"]).code == 4


def test_scopes_and_lifetimes_are_checked(cli: Cli) -> None:
    cli.ok("create", "hello")
    for words in (("--scope", "revoke"), ("--scope", "all"), ("--lifetime", "12")):
        assert cli.run("token", "new", "hello", *words).code == 2


def test_users(cli: Cli) -> None:
    out = cli.ok("user", "add", "anna", "--namespace", "team")
    assert len(out.splitlines()[-1].strip()) == 32
    assert cli.ok("user", "list").splitlines()[1:] == ["admin  admin  -", "anna   user   team"]
    assert cli.run("user", "add", "bert").code == 2
    assert cli.ok("user", "remove", "anna") == "anna is removed.\n"
    assert cli.run("user", "remove", "anna").code == 4


def test_runtimes(cli: Cli) -> None:
    names = [line.split()[0] for line in cli.ok("runtime", "list").splitlines()]
    assert names == ["NAME", "debian", "postgres", "python"]
    assert cli.ok("runtime", "build", "python") == "python is ready.\n"
    assert cli.run("runtime", "build", "cobol").code == 4
    assert cli.ok("runtime", "add", "tools", "example.com/tools:3", "--no-wait") == (
        "tools is being built.\n"
    )
    assert cli.ok("runtime", "remove", "tools") == "tools is removed.\n"


def test_login_keeps_context_and_token(cli: Cli, tmp_path: Path) -> None:
    token = cli.orchestrator.admin_token
    secret = tmp_path / "token"
    secret.write_text(token + "\n")
    out = cli.ok("login", cli.url, "--token-file", str(secret), "-n", "team", "--name", "other")
    assert out == f"admin is logged in at {URL} (context other).\n"
    assert Config.read().contexts["other"] == Context("other", cli.url, "", "team", "home", "here")
    assert (Config.read().current, Credentials.read().users["other"]) == ("other", token)
    cli.ok("login", cli.url, "--name", "third", stdin=token + "\n")
    assert Credentials.read().users["third"] == token


@pytest.mark.parametrize(("token", "code"), [("my-secret", 2), ("5" * 32, 3)])
def test_login_keeps_no_wrong_token_and_never_repeats_it(cli: Cli, token: str, code: int) -> None:
    result = cli.run("login", cli.url, "--name", "other", stdin=token + "\n")
    assert (result.code, result.out) == (code, "")
    assert token not in result.err
    assert "other" not in Config.read().contexts


def test_contexts(cli: Cli) -> None:
    cli.ok("context", "add", "home", "https://home.test:7080", "--namespace", "anna")
    assert [line.split() for line in cli.ok("context", "list").splitlines()] == [
        ["CONTEXT", "URL", "NAMESPACE"],
        ["home", "https://home.test:7080", "anna"],
        ["*", "work", URL, "default"],
    ]
    cli.ok("context", "use", "home")
    assert json.loads(cli.ok("context", "show", "-o", "json"))["context"]["name"] == "home"
    refused = cli.run("list")
    assert (refused.code, refused.out) == (3, "")
    cli.ok("--context", "work", "list")
    cli.ok("list", "--context", "work")
    shown = cli.ok("context", "show", "work")
    assert cli.orchestrator.admin_token not in shown
    assert "User token:     kept" in shown
    cli.ok("context", "remove", "home")
    assert cli.run("context", "use", "home").code == 4


def test_version_says_both(cli: Cli) -> None:
    assert cli.ok("version").splitlines()[1] == f"gateway  {VERSION} at {URL} (home/here)"
    answer = json.loads(cli.ok("version", "-o", "json"))
    assert (answer["gateway"], answer["url"]) == (VERSION, URL)


def test_completion_prints_a_script(cli: Cli) -> None:
    assert "_DEVBOX_COMPLETE=complete_bash" in cli.ok("completion", "bash")
    assert cli.run("completion", "tcsh").code == 2
