"""~/.ssh/config is the person's: one line in it is ours."""

import subprocess
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from devbox.cli import known_hosts, openssh, ssh_config
from devbox.model.errors import Conflict
from tests.devbox.cli.conftest import Cli

THEIRS = "# mine\nHost other\n    HostName example.com\n    User me\n"


@pytest.fixture
def ssh_home(home: Path) -> Path:
    """`~/.ssh/config`, which is not there yet."""
    return home / ".ssh" / "config"


def test_a_missing_file_is_made_private(cli: Cli, ssh_home: Path) -> None:
    cli.ok("create", "hello")
    assert cli.ok("ssh-config", "--write") == "1 entry written.\n"
    own = ssh_home.parents[1] / ".config/devbox/ssh_config"
    assert ssh_home.read_text() == f'Include "{own}"\n'
    assert [p.stat().st_mode & 0o777 for p in (ssh_home.parent, ssh_home, own)] == [
        0o700,
        0o600,
        0o600,
    ]


def test_writing_twice_changes_nothing(cli: Cli, ssh_home: Path) -> None:
    cli.ok("ssh-config", "--write")
    before = ssh_home.read_bytes(), ssh_home.stat().st_ino
    cli.ok("ssh-config", "--write")
    assert (ssh_home.read_bytes(), ssh_home.stat().st_ino) == before


@pytest.mark.parametrize(
    "theirs", [THEIRS, THEIRS.replace("\n", "\r\n"), THEIRS.rstrip("\n"), "", "\n\n"]
)
def test_everything_else_is_left_byte_for_byte(cli: Cli, ssh_home: Path, theirs: str) -> None:
    ssh_home.parent.mkdir(mode=0o700)
    ssh_home.write_bytes(theirs.encode())
    ssh_home.chmod(0o644)
    cli.ok("ssh-config", "--write")
    ours, rest = ssh_home.read_bytes().split(b"\n", 1)
    assert ours.startswith(b"Include ")
    assert ours.endswith(b"\r") == ("\r\n" in theirs)
    assert rest == theirs.encode()
    cli.ok("ssh-config", "--remove")
    assert ssh_home.read_bytes() == theirs.encode()
    assert ssh_home.stat().st_mode & 0o777 == 0o644


def test_a_line_of_ours_below_a_host_moves_to_the_top(cli: Cli, ssh_home: Path) -> None:
    ssh_home.parent.mkdir()
    line = ssh_config.include_line(ssh_config.own_path())
    ssh_home.write_text(f"{THEIRS}{line}\n")
    cli.ok("ssh-config", "--write")
    assert ssh_home.read_text() == f"{line}\n{THEIRS}"


def test_a_linked_file_stays_a_link(cli: Cli, ssh_home: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "ssh-config"
    real.parent.mkdir()
    real.write_text(THEIRS)
    ssh_home.parent.mkdir()
    ssh_home.symlink_to(real)
    cli.ok("ssh-config", "--write")
    assert ssh_home.is_symlink()
    assert real.read_text().endswith(THEIRS)


def test_openssh_reads_what_was_written_where_paths_have_spaces(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "my 100% config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(spaced))
    from devbox.cli import config

    config.put_context(config.Context("work", cli.url), cli.orchestrator.admin_token, use=True)
    cli.ok("create", "hello")
    cli.ok("create", "team/api")
    cli.ok("ssh-config", "--write")
    known = _ssh_g(ssh_config.own_path(), "hello.devbox")
    assert known["userknownhostsfile"] == str(spaced / "devbox" / "known_hosts")
    assert known["stricthostkeychecking"] == "true"
    assert known["proxycommand"].endswith("ssh --stdio --context work default/hello")
    assert "team/api" in _ssh_g(ssh_config.own_path(), "api.team.devbox")["proxycommand"]
    assert "proxycommand" not in _ssh_g(ssh_config.own_path(), "api.devbox")


def _ssh_g(path: Path, host: str) -> dict[str, str]:
    done = subprocess.run(
        ["ssh", "-G", "-F", str(path), host], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


def test_no_secret_is_in_what_is_written(cli: Cli) -> None:
    cli.ok("create", "hello")
    text = cli.ok("ssh-config", "--print")
    cli.ok("ssh-config", "--write")
    from devbox.cli.config import Credentials

    known = Credentials.read()
    secrets = [*known.users.values(), *known.projects["work"].values()]
    written = text + ssh_config.own_path().read_text() + known_hosts.path().read_text()
    assert len(secrets) == 2
    assert not any(secret in written for secret in secrets)


def test_entries_follow_projects_once_they_were_written(cli: Cli) -> None:
    cli.ok("create", "one")
    assert not ssh_config.own_path().exists()
    cli.ok("ssh-config", "--write")
    cli.ok("create", "two")
    assert "Host two.devbox" in ssh_config.own_path().read_text()
    cli.ok("delete", "two", "--yes")
    assert "Host two.devbox" not in ssh_config.own_path().read_text()


def test_a_changed_key_is_refused(home: Path) -> None:
    known_hosts.pin({"uid": "ssh-ed25519 AAAA comment"})
    known_hosts.pin({"uid": "ssh-ed25519 AAAA", "other": "ssh-ed25519 BBBB"})
    with pytest.raises(Conflict, match="not the one that was pinned"):
        known_hosts.pin({"uid": "ssh-ed25519 CCCC"})
    assert known_hosts.path().read_text() == (
        "devbox-other ssh-ed25519 BBBB\ndevbox-uid ssh-ed25519 AAAA\n"
    )


def test_one_thing_at_a_time(cli: Cli) -> None:
    for words in ((), ("--write", "--remove")):
        assert cli.run("ssh-config", *words).code == 2


SYSTEMS = {
    "linux": ("/opt/dev box/bin/devbox", "/home/ann/.config/devbox/known_hosts", False),
    "macos": ("/Users/Ann O'Hara/bin/devbox", "/Users/Ann O'Hara/.config/devbox/kh", False),
    "windows": (r"C:\Program Files\Devbox\devbox.exe", r"C:\Users\Ann O\devbox\kh", True),
}
EXPECTED = {
    "linux": (
        "'/opt/dev box/bin/devbox' ssh --stdio --context work default/hello",
        "/home/ann/.config/devbox/known_hosts",
    ),
    "macos": (
        """'/Users/Ann O'"'"'Hara/bin/devbox' ssh --stdio --context work default/hello""",
        "/Users/Ann O'Hara/.config/devbox/kh",
    ),
    "windows": (
        r'"C:\Program Files\Devbox\devbox.exe" ssh --stdio --context work default/hello',
        "C:/Users/Ann O/devbox/kh",
    ),
}


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_the_entry_of_each_system(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    program, known, windows = SYSTEMS[system]
    cli.ok("create", "hello")
    monkeypatch.setattr(openssh, "devbox_command", lambda: [program])
    monkeypatch.setattr(openssh, "on_windows", lambda: windows)
    monkeypatch.setattr(known_hosts, "path", lambda: PurePosixPath(known))
    monkeypatch.setattr(known_hosts, "pin", lambda keys: None)
    text = cli.ok("ssh-config", "--print")
    proxy, path = EXPECTED[system]
    assert f"    ProxyCommand {proxy}\n" in text
    assert f'    UserKnownHostsFile "{path}"\n' in text
    (tmp_path / "written").write_text(text)
    read = _ssh_g(tmp_path / "written", "hello.devbox")
    assert (read["proxycommand"], read["userknownhostsfile"]) == (proxy, path)


@pytest.mark.parametrize("name", ["with space", "it's 100%", '$HOME `id` \\ "x"'])
def test_ssh_starts_a_devbox_in_a_path_that_shells_would_read_otherwise(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    place = tmp_path / name
    place.mkdir()
    devbox, said = place / "devbox", tmp_path / "said"
    devbox.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{said}'\n")
    devbox.chmod(0o755)
    monkeypatch.setattr(openssh, "devbox_command", lambda: [str(devbox)])
    cli.ok("create", "hello")
    (tmp_path / "written").write_text(cli.ok("ssh-config", "--print"))
    command = ["ssh", "-F", str(tmp_path / "written"), "hello.devbox", "true"]
    subprocess.run(command, capture_output=True, timeout=30)
    assert said.read_text().split() == ["ssh", "--stdio", "--context", "work", "default/hello"]


def test_the_include_line_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "on_windows", lambda: True)
    own = PureWindowsPath(r"C:\Users\Ann O\.config\devbox\ssh_config")
    assert ssh_config.include_line(own) == 'Include "C:/Users/Ann O/.config/devbox/ssh_config"'
