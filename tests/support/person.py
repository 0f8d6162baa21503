"""A person at a keyboard: an empty HOME, the devbox command, the real OpenSSH client."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEVBOX = Path(sys.executable).with_name("devbox")


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


class Person:
    """Runs commands as one person. `root` is the embedded server's, for people of its machine."""

    def __init__(self, home: Path, root: Path | None) -> None:
        self.home = home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = ("PATH", "TERM", "LANG", "SSL_CERT_FILE", "PIP_CERT")
        self.env = {key: os.environ[key] for key in kept if key in os.environ}
        self.env |= {
            "HOME": str(home),
            "NO_COLOR": "1",
            "PATH": f"{DEVBOX.parent}:{self.env['PATH']}",
        }
        if root is not None:
            self.env["DEVBOX_ROOT"] = str(root)

    def run(self, *command: str, stdin: str | bytes = "", timeout: float = 120) -> Said:
        """Run any command."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            command, input=data, env=self.env, cwd=self.home, capture_output=True, timeout=timeout
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def devbox(self, *arguments: str, stdin: str = "", timeout: float = 120) -> Said:
        """Run `devbox` with these arguments."""
        return self.run(str(DEVBOX), *arguments, stdin=stdin, timeout=timeout)

    def ok(self, *arguments: str, timeout: float = 120) -> str:
        """Run `devbox`; it must end well. Returns what it printed."""
        said = self.devbox(*arguments, timeout=timeout)
        assert said.status == 0, (
            f"devbox {' '.join(arguments)}: {said.status}\n{said.out}{said.err}"
        )
        return said.out

    def json(self, *arguments: str, timeout: float = 120) -> Any:
        """Run `devbox … --output json`."""
        return json.loads(self.ok(*arguments, "--output", "json", timeout=timeout))

    def sh(self, project: str, script: str, timeout: float = 120) -> str:
        """Run a shell script in a box through `devbox ssh`; it must end well."""
        said = self.devbox("ssh", project, "--", script, timeout=timeout)
        assert said.status == 0, f"{script!r}: {said.status}\n{said.out}{said.err}"
        return said.out

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command with pipes. The caller ends it."""
        return subprocess.Popen(
            command,
            env=self.env,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
