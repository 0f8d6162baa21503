"""Command lines and configuration for the real OpenSSH client.

Owns the options every connection uses and their quoting. Starts nothing and asks nobody. No secret
is ever in a command line: the ProxyCommand finds its credential in our 0600 file, or in the
environment when an address was given.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from devbox.cli import known_hosts
from devbox.model.errors import BadInput

ADDRESS_VARIABLE = "DEVBOX_ADDRESS"
"""Holds an address for a `devbox ssh --stdio` that is given none: other users cannot see it."""

USER = "devbox"
"""Any name logs in as the project's own user."""


def on_windows() -> bool:
    """Whether it is Windows' OpenSSH that reads what is written."""
    return sys.platform == "win32"


def devbox_command() -> list[str]:
    """How to start this very command line again, from any directory."""
    started = Path(sys.argv[0])
    if started.name == "devbox" and (found := shutil.which(sys.argv[0])):
        return [os.path.abspath(found)]
    beside = Path(sys.executable).with_name("devbox")
    if os.access(beside, os.X_OK):
        return [str(beside)]
    return [sys.executable, "-m", "devbox.cli.main"]


def proxy_command(arguments: list[str]) -> str:
    """A ProxyCommand, with `%` of its own (ssh_config, TOKENS).

    The person's shell reads it; on Windows each program splits its own command line, and only
    double quotes hold a path with blanks together.
    """
    words = [*devbox_command(), "ssh", "--stdio", *arguments]
    line = subprocess.list2cmdline(words) if on_windows() else shlex.join(words)
    return line.replace("%", "%%")


def options(uid: str, proxy: str) -> list[tuple[str, str]]:
    """Keyword and value, as ssh_config(5) has them; paths are not quoted yet.

    Keepalives are off because the session below has its own and outlives every link: SSH's would
    end what a laptop's sleep only delays.
    """
    return [
        ("User", USER),
        ("ProxyCommand", proxy),
        ("HostKeyAlias", known_hosts.alias(uid)),
        ("UserKnownHostsFile", str(known_hosts.path())),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
        ("CheckHostIP", "no"),
        ("ServerAliveInterval", "0"),
        ("TCPKeepAlive", "no"),
        ("Compression", "no"),
        ("Ciphers", "^aes128-gcm@openssh.com"),
    ]


_PATHS = {"UserKnownHostsFile", "GlobalKnownHostsFile"}


def quoted(keyword: str, value: str) -> str:
    """A value as ssh_config wants it: paths in double quotes, their `%` doubled."""
    return quoted_path(value).replace("%", "%%") if keyword in _PATHS else value


def quoted_path(path: str) -> str:
    """In double quotes, within which a backslash escapes: Windows takes slashes as well."""
    return '"' + (path.replace("\\", "/") if on_windows() else path) + '"'


def arguments(uid: str, proxy: str) -> list[str]:
    """The options for `ssh` and `scp`."""
    pairs = options(uid, proxy)
    return [word for key, value in pairs for word in ("-o", f"{key}={quoted(key, value)}")]


def program(name: str) -> str:
    """The path of an OpenSSH program. Raises BadInput where there is none."""
    found = shutil.which(name)
    if found is None:
        raise BadInput(
            f"the program {name} is not installed here",
            "Install OpenSSH's client (Debian: apt-get install openssh-client).",
        )
    return found


def replace_process(command: list[str], environment: dict[str, str]) -> None:
    """Become another program, so that terminal, signals and exit status are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)  # noqa: S606
