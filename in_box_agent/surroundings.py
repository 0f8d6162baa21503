"""What a person's process starts with: user, environment, directory, shell.

Reads the image's own files and never the bundle's; nothing of the bundle gets into the
environment but, at the end of PATH, its tools when the image has no shell.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devbox.model.nodes import StartRecord

BUNDLE = "/.devbox"
TOOLS = f"{BUNDLE}/tools"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USUAL = frozenset((*_PATH.split(":"), "/usr/local/games", "/usr/games"))
_SHELLS = ("/bin/bash", "/bin/sh", f"{TOOLS}/sh")
_NO_SHELLS = frozenset({"nologin", "false", "true", "sync"})
_PASSWD_FIELDS = 7


@dataclass(frozen=True)
class Account:
    """The user whose processes these are (passwd(5))."""

    uid: int
    name: str
    home: str
    shell: str


@dataclass(frozen=True)
class Surroundings:
    """Fixed for the life of a box."""

    account: Account
    env: Mapping[str, str]
    directory: str
    """The image's working directory, or the home."""
    shell: str
    agent_socket: str
    """The one place where processes find the forwarded ssh-agent, whoever forwards it."""
    starter: str = f"{BUNDLE}/bin/devbox-exec"

    @property
    def shell_argv(self) -> list[str]:
        """The shell as a person's own: a login shell (its name begins with a hyphen).

        Not where the image or the project has put more into PATH: /etc/profile of most
        distributions sets PATH anew, and the image's programs would not be found.
        """
        name = self.shell.rpartition("/")[2]
        usual = _USUAL.issuperset(self.env["PATH"].removesuffix(f":{TOOLS}").split(":"))
        return [f"-{name}" if usual else name]

    def command_argv(self, command: str) -> list[str]:
        """The shell with a command to run."""
        return [self.shell.rpartition("/")[2], "-c", command]


def parse_account(passwd: str, uid: int) -> Account:
    """The account of a uid; a plain one when passwd does not know it."""
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) == _PASSWD_FIELDS and fields[2] == str(uid):
            return Account(uid, fields[0], fields[5] or "/", fields[6])
    return Account(uid, "root" if uid == 0 else f"uid{uid}", "/root" if uid == 0 else "/", "")


def pick_shell(account: Account, is_program: Callable[[str], bool]) -> str:
    """The account's shell if it is one, else a shell of the image, else the bundle's."""
    own = account.shell
    if own and own.rpartition("/")[2] not in _NO_SHELLS and is_program(own):
        return own
    return next((shell for shell in _SHELLS if is_program(shell)), _SHELLS[-1])


def environment(
    record: StartRecord, inherited: Mapping[str, str], account: Account, shell: str
) -> dict[str, str]:
    """The image's environment, what the project adds, and who the user is."""
    image = dict(entry.partition("=")[::2] for entry in record.config.env)
    env = {**image, **inherited, **record.env}
    env.update(USER=account.name, LOGNAME=account.name, SHELL=shell)
    if "HOME" not in image and "HOME" not in record.env:
        env["HOME"] = account.home
    env.setdefault("PATH", _PATH)
    env.setdefault("LANG", "C.UTF-8")
    env["DEVBOX_PROJECT"] = f"{record.namespace}/{record.project}"
    if shell.startswith(TOOLS):
        env["PATH"] += f":{TOOLS}"
    return env


def look_around(record: StartRecord, inherited: Mapping[str, str]) -> Surroundings:
    """Read what this container is like."""
    account = parse_account(_read("/etc/passwd"), os.getuid())
    shell = pick_shell(account, lambda path: os.access(path, os.X_OK))
    env = environment(record, inherited, account, shell)
    wanted = record.config.working_dir
    directory = wanted if wanted and os.path.isdir(wanted) else env["HOME"]
    box = f"{BUNDLE}/box"
    place = box if os.access(box, os.W_OK) else "/tmp"  # noqa: S108
    return Surroundings(account, env, directory, shell, f"{place}/ssh-agent.sock")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
