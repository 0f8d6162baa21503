"""What people write for ports and sockets that lead to others: `8080:db:5432`, `/tmp/a.sock:80`.

Pure. Knows neither which side listens nor how.
"""

from dataclasses import dataclass, replace
from typing import Any

from devbox.model.errors import BadInput

LOCALHOST = "127.0.0.1"
_PORTS = 1 << 16
_HINT = "Write 8080, 8080:80, 8080:db:5432, or a socket's path with a slash for either side."


@dataclass(frozen=True)
class Place:
    """A port of a host, or a unix socket."""

    port: int = 0
    host: str = LOCALHOST
    path: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    @property
    def short(self) -> str:
        """Without the host where that is clear."""
        return str(self.port) if not self.path and self.host == LOCALHOST else str(self)

    @property
    def params(self) -> dict[str, Any]:
        """As the service `tcp` takes it."""
        return {"unix": self.path} if self.path else {"host": self.host, "port": self.port}


@dataclass(frozen=True)
class Route:
    """Where one listens, and where that leads."""

    near: Place
    far: Place

    def at(self, port: int) -> "Route":
        """With the port that was found."""
        return replace(self, near=replace(self.near, port=port))


def parse_route(text: str) -> Route:
    """`FAR`, `NEAR:FAR` or `NEAR:HOST:FAR`; both are ports, or paths with a slash.

    Raises BadInput.
    """
    words = text.split(":")
    if len(words) > len(("near", "host", "far")) or not all(words):
        raise BadInput(f"{text!r} leads from nowhere to nowhere", _HINT)
    if len(words) == 1 and "/" in text:
        raise BadInput(f"{text!r} names only one side", _HINT)
    host = words[1] if len(words) == len(("near", "host", "far")) else LOCALHOST
    near, far = _place(words[0], LOCALHOST, text), _place(words[-1], host, text)
    if not far.path and not far.port:
        raise BadInput(f"{text!r} names no port to lead to", _HINT)
    return Route(near, far)


def _place(word: str, host: str, text: str) -> Place:
    if "/" in word and host == LOCALHOST:
        return Place(path=word)
    if word.isdecimal() and int(word) < _PORTS and "/" not in host:
        return Place(int(word), host)
    raise BadInput(f"{word!r} in {text!r} is neither a port nor a socket's path", _HINT)
