"""What the table of operations asks of every SSH client. A client can what it overrides."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.support.echo import Place
from tests.support.ssh import Door

PATIENCE_S = 40


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: bytes
    err: bytes = b""


@dataclass(frozen=True)
class Way:
    """The ways into one box."""

    door: Door
    root: Path
    """The box's root directory, seen from here."""
    port: int
    """A local port that leads to SSH in the box, for clients that take no ProxyCommand."""
    host_key: str
    """`ssh-ed25519 AAAA...`"""
    fingerprint: str
    """`SHA256:...`"""

    @property
    def home(self) -> Path:
        """The home in the box, seen from here."""
        return self.root / "home/devbox"

    @property
    def proxy(self) -> str:
        """A ProxyCommand for a shell."""
        *command, line = self.door.join("ssh")
        return f"{' '.join(command)} '{line}'"


class Client:
    """A client that can nothing."""

    name: ClassVar[str]
    half_closes: ClassVar[bool] = True
    """Whether a forwarded connection goes on one way after it ended the other way."""

    def __init__(self, way: Way, place: Path) -> None:
        self.way = way
        self.place = place
        """A short directory of its own."""

    def close(self) -> None:
        """End what it still runs."""

    def execute(self, command: str, stdin: bytes = b"") -> Done:
        """Run a command in the box."""
        raise NotImplementedError

    def terminal(self, command: str) -> bytes:
        """What a command on a terminal says."""
        raise NotImplementedError

    def together(self, commands: list[str]) -> list[Done]:
        """Run all at once, each in a channel of one connection."""
        raise NotImplementedError

    def upload(self, here: Path, there: str) -> None:
        """Copy a file; `there` is relative to the home."""
        raise NotImplementedError

    def download(self, there: str, here: Path) -> None:
        """Copy a file back."""
        raise NotImplementedError

    def local(self, there: int) -> AbstractContextManager[Place]:
        """Forward a place here to a port of the box."""
        raise NotImplementedError

    def local_unix(self, there: str) -> AbstractContextManager[Place]:
        """Forward a place here to a unix socket of the box."""
        raise NotImplementedError

    def remote(self, there: int, here: int) -> AbstractContextManager[None]:
        """Forward a port of the box to one here."""
        raise NotImplementedError

    def remote_unix(self, there: str, here: int) -> AbstractContextManager[None]:
        """Forward a unix socket of the box to a port here."""
        raise NotImplementedError

    def dynamic(self) -> AbstractContextManager[int]:
        """A SOCKS port here."""
        raise NotImplementedError

    @classmethod
    def can(cls, method: str) -> bool:
        """Whether a method is more than the one above."""
        return getattr(cls, method) is not getattr(Client, method)
