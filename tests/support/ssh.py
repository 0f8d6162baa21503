"""The real OpenSSH client, through real links, into a box of a test."""

import base64
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devbox.model.nodes import StartRecord
from tests.support.box import Box, Gateway

_HERE = Path(__file__).parent
_REPOSITORY = _HERE.parents[1]


@dataclass(frozen=True)
class Door:
    """A way into a box, for any program that takes a ProxyCommand."""

    box: Box
    place: Path
    """A short directory for sockets and configuration."""

    def join(self, service: str, params: str = "{}", scopes: str = "full") -> list[str]:
        """A command whose input and output are a stream."""
        line = f"{service} {params} {scopes}"
        return ["/usr/bin/python3", "-I", "-S", str(_HERE / "join.py"), f"{self.place}/s", line]

    @property
    def config(self) -> Path:
        """For `ssh -F`."""
        return self.place / "config"

    def ssh(self, *words: str) -> list[str]:
        """A command line."""
        return ["ssh", "-F", str(self.config), *words]

    def run(
        self, *words: str, stdin: bytes = b"", timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        """`ssh box WORDS`, with options in front when they begin with a hyphen."""
        command = self.ssh(*words) if words[:1] and words[0].startswith("-") else None
        command = command or self.ssh("box", *words)
        return subprocess.run(command, input=stdin, capture_output=True, timeout=timeout)

    def out(self, command: str, stdin: bytes = b"") -> str:
        """What a command in the box says; it must end well."""
        done = self.run(command, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout.decode()


@contextlib.contextmanager
def door(box: Box, gateway: Gateway, start: StartRecord) -> Iterator[Door]:
    """Open one."""
    with tempfile.TemporaryDirectory(prefix="door", dir="/tmp") as name:
        place = Path(name)
        command = box.inside(sys.executable, "-m", "tests.support.forward", f"{place}/s")
        forwarder = subprocess.Popen(
            command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert forwarder.stdin is not None
            assert forwarder.stdout is not None
            key = base64.b64encode(gateway.key.private_bytes_raw())
            forwarder.stdin.write(key + b"\n")
            forwarder.stdin.flush()
            assert forwarder.stdout.readline() == b"ready\n"
            made = Door(box, place)
            _write_config(made, start)
            yield made
        finally:
            forwarder.kill()
            forwarder.communicate()


def _write_config(made: Door, start: StartRecord) -> None:
    import asyncssh

    key = asyncssh.import_private_key(start.host_key).export_public_key().decode()
    (made.place / "known").write_text(f"box {key}")
    *command, line = made.join("ssh")
    made.config.write_text(
        f"""Host box
  ProxyCommand {" ".join(command)} "{line.replace("%", "%%")}"
  UserKnownHostsFile {made.place}/known
  StrictHostKeyChecking yes
  LogLevel ERROR
  User anybody
  IdentityFile none
"""
    )
