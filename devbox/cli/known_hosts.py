"""Pinned host keys, in a known_hosts file of our own.

A project's key is filed under its uid, not its name: a new project of an old name is another host.
"""

import base64
import hashlib
from pathlib import Path

from devbox.cli.files import PRIVATE, config_directory, locked, read_text, write_atomically
from devbox.model.errors import Conflict


def path() -> Path:
    """The file."""
    return config_directory() / "known_hosts"


def alias(uid: str) -> str:
    """The name under which a project's key is filed (ssh_config, HostKeyAlias)."""
    return f"devbox-{uid}"


def pin(keys: dict[str, str]) -> None:
    """Pin keys, by project uid. Raises Conflict when another key is pinned for one."""
    with locked(config_directory()):
        pinned = _read()
        for uid, key in keys.items():
            wanted = _bare(key)
            if pinned.setdefault(alias(uid), wanted) != wanted:
                raise Conflict(
                    f"the host key of project {uid} is not the one that was pinned",
                    "Somebody may be listening in: nothing was connected. If you know why it "
                    f"changed, remove {alias(uid)} from {path()}.",
                )
        text = "".join(f"{name} {key}\n" for name, key in sorted(pinned.items()))
        if text != read_text(path()):
            write_atomically(path(), text, PRIVATE)


def _read() -> dict[str, str]:
    lines = (line.split(" ", 1) for line in read_text(path()).splitlines() if " " in line)
    return {name: key.strip() for name, key in lines}


def _bare(public_key: str) -> str:
    """Type and key without the comment."""
    return " ".join(public_key.split()[:2])


def fingerprint(public_key: str) -> str:
    """As `ssh-keygen -l` prints it; `-` for no key."""
    try:
        digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    except (IndexError, ValueError):
        return "-"
    return "SHA256:" + base64.b64encode(digest).rstrip(b"=").decode("ascii")
