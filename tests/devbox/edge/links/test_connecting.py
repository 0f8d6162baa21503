"""One name, several gateways: whichever answers."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from devbox.edge.links.connecting import Place, connect_any, connect_first, in_turn


def place(port: int, host: str = "127.0.0.1") -> Place:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return (family, socket.SOCK_STREAM, 6, "", (host, port))


@contextlib.contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that takes no more connections and refuses none, as a machine without power does."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            full = stack.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_one_that_refuses_is_passed_over() -> None:
    with (
        refusing() as dead,
        listening() as alive,
        await connect_first([place(dead), place(alive)]) as sock,
    ):
        assert sock.getpeername()[1] == alive


@pytest.mark.timeout(30)
async def test_one_that_is_silent_is_not_waited_for() -> None:
    with (
        silent() as dead,
        listening() as alive,
        await connect_first([place(dead), place(dead), place(alive)]) as sock,
    ):
        assert sock.getpeername()[1] == alive


async def test_none_that_answers_is_the_first_ones_error() -> None:
    with refusing() as one, refusing() as two, pytest.raises(ConnectionRefusedError):
        await connect_first([place(one), place(two)])
    with pytest.raises(OSError, match="no address"):
        await connect_first([])


async def test_giving_up_leaves_no_socket_open() -> None:
    """Sockets that are dropped open would be a ResourceWarning, which is an error here."""
    with silent() as dead, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await connect_first([place(dead), place(dead)])


async def test_a_name_is_looked_up() -> None:
    with listening() as alive, await connect_any("localhost", alive) as sock:
        assert sock.getpeername()[1] == alive


def test_families_and_turns() -> None:
    four = [place(1, host) for host in ("10.0.0.1", "10.0.0.2")]
    six = [place(1, host) for host in ("fd00::1", "fd00::2", "fd00::3")]
    mixed = [six[0], four[0], six[1], four[1], six[2]]
    assert in_turn([*six, *four], 0) == mixed
    assert in_turn([*six, *four], 6) == [*mixed[1:], mixed[0]]
    assert in_turn([*four, *six], 0)[:2] == [four[0], six[0]]
    assert in_turn([], 3) == []
