"""Contexts and credentials."""

from pathlib import Path

import pytest

from devbox.cli import config
from devbox.model.errors import BadInput, NotFound

WORK = config.Context("work", "https://devbox.test", namespace="team")
ODD = config.Context("odd", "https://devbox.test", '/a "b" \\ c\x7f/ca.pem', "team", "home", "here")


def test_what_is_written_is_read_back(home: Path) -> None:
    config.put_context(WORK, "secret", use=True)
    config.put_context(ODD, "", use=False)
    found = config.Config.read()
    assert found == config.Config("work", {"work": WORK, "odd": ODD})
    assert config.choose("") == (WORK, "secret")
    assert config.choose("odd") == (ODD, "")


def test_secrets_lie_in_a_private_file_and_nowhere_else(home: Path) -> None:
    config.put_context(WORK, "secret-user", use=True)
    config.keep_project_token("work", "team/hello", "secret-project")
    directory = home / ".config" / "devbox"
    holders = [p.name for p in directory.iterdir() if "secret-" in p.read_text()]
    assert holders == ["credentials.toml"]
    assert (directory / "credentials.toml").stat().st_mode & 0o777 == 0o600
    assert config.Credentials.read().project("work", "team/hello") == "secret-project"


def test_a_forgotten_token_is_gone(home: Path) -> None:
    config.put_context(WORK, "user", use=True)
    config.keep_project_token("work", "team/hello", "one")
    config.keep_project_token("work", "team/hello", "")
    assert config.Credentials.read().projects.get("work", {}) == {}
    config.remove_context("work")
    assert config.Credentials.read().users == {}
    with pytest.raises(NotFound):
        config.remove_context("work")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("current = ", "is not TOML"),
        ("contexts = 3", "contexts is not a table"),
        ("[contexts.a]\nca_file = 'x'", "context 'a' has no url"),
    ],
)
def test_a_broken_file_is_named(home: Path, text: str, says: str) -> None:
    directory = home / ".config" / "devbox"
    directory.mkdir(parents=True)
    (directory / "config.toml").write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        config.Config.read()
    assert "config.toml" in caught.value.message


def test_nothing_known_says_what_to_do(home: Path) -> None:
    with pytest.raises(BadInput, match="no gateway is known here") as caught:
        config.choose("")
    assert "devbox login" in caught.value.hint


def test_a_server_on_this_machine_needs_no_context(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_ROOT", str(tmp_path / "root"))
    keys = config.layout_here().keys
    keys.mkdir(parents=True)
    (keys / "admin-token").write_text("0123\n")
    config.layout_here().settings.write_text('gateway_port = 7999\ncluster = "mine"\n')
    context, token = config.choose("")
    assert (context.name, context.url) == ("local", "http://127.0.0.1:7999")
    assert (context.cluster, context.region, token) == ("mine", "here", "0123")


def test_a_chosen_context_goes_before_the_local_server(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVBOX_ROOT", str(tmp_path / "root"))
    keys = config.layout_here().keys
    keys.mkdir(parents=True)
    (keys / "admin-token").write_text("0123\n")
    config.put_context(WORK, "user", use=True)
    assert config.choose("")[0] == WORK
    assert config.choose("local")[1] == "0123"
    config.use_context("local")
    assert config.choose("")[1] == "0123"


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("devbox.test", "https://devbox.test"),
        ("http://127.0.0.1:7080/", "http://127.0.0.1:7080"),
        ("wss://devbox.test", "https://devbox.test"),
    ],
)
def test_a_gateway_url_has_one_form(typed: str, url: str) -> None:
    assert config.check_gateway_url(typed) == url


@pytest.mark.parametrize("typed", ["ftp://x", "https://", "https://a@b", "https://x/home/here"])
def test_other_urls_are_refused(typed: str) -> None:
    with pytest.raises(BadInput):
        config.check_gateway_url(typed)
