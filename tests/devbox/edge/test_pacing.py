"""Who is not paced: connections that stay on this machine, where its owner chose BBR."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from devbox.edge.links.connecting import connect_any
from devbox.edge.pacing import is_near, unpace, unpace_listeners, unpace_near


@dataclass
class Options:
    """A socket's congestion control. It takes only what it `allows`."""

    name: bytes
    allows: frozenset[bytes]
    asked: list[bytes] = field(default_factory=list)

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        return self.name.ljust(size, b"\0")

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None:
        self.asked.append(value)
        if value not in self.allows:
            raise PermissionError
        self.name = value


@pytest.mark.parametrize(
    ("name", "allows", "becomes"),
    [
        (b"bbr", {b"cubic", b"reno"}, b"cubic"),
        (b"bbr2", {b"reno"}, b"reno"),
        (b"bbr", set(), b"bbr"),
        (b"dctcp", {b"cubic", b"reno"}, b"dctcp"),
    ],
)
def test_only_what_paces_is_changed(name: bytes, allows: set[bytes], becomes: bytes) -> None:
    options = Options(name, frozenset(allows))
    unpace(options)
    assert options.name == becomes


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("example.org", False),
    ],
)
def test_what_is_near(host: str, near: bool) -> None:
    assert is_near(host) is near
    listener = Options(b"bbr", frozenset({b"cubic"}))
    unpace_listeners([listener], host)
    assert (listener.name == b"cubic") is near


def _congestion(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> Callable[[socket.socket], None]:
    """Makes a socket what BBR's would be, on machines that have no BBR as well."""
    monkeypatch.setattr("devbox.edge.pacing._PACED", b"reno")
    monkeypatch.setattr("devbox.edge.pacing._UNPACED", (b"cubic", b"bbr"))
    return lambda sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


async def test_an_accepted_neighbour_is_not_paced(paced: Callable[[socket.socket], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        paced(listener)
        with await connect_any("127.0.0.1", listener.getsockname()[1]) as dialled:
            assert _congestion(dialled) != b"reno"
            near, _ = listener.accept()
            with near:
                assert _congestion(near) == b"reno"
                unpace_near(near)
                assert _congestion(near) != b"reno"


async def test_a_refusal_is_raised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with await connect_any("localhost", listener.getsockname()[1]) as near:
            assert not near.getblocking()
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect_any("localhost", port)


def test_a_unix_socket_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        unpace_near(one)
