"""The relay between two sockets: every way to hold bytes, every way to end."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

import gateway.tunnel.splice as splice
from gateway.tunnel.splice import Copy, Pipe, Pipes, SplicedLink


@dataclass
class Joined:
    """A link between two ends."""

    client: socket.socket
    box: socket.socket
    link: SplicedLink
    gone: asyncio.Event


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    for side in (near, far):
        side.setblocking(False)
    return near, far


@pytest.fixture(params=[512, 0], ids=["pipes", "copies"])
async def joined(request: pytest.FixtureRequest) -> AsyncIterator[Joined]:
    (client, a), (b, box) = _pair(), _pair()
    pipes = Pipes(request.param)
    gone = asyncio.Event()
    link = SplicedLink(a, b, pipes)
    link.start(gone.set)
    yield Joined(client, box, link, gone)
    link.abort()
    pipes.close()
    client.close()
    box.close()


async def _read(side: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count and (more := await loop.sock_recv(side, 1 << 20)):
        data += more
    return data


async def test_bytes_pass_both_ways_at_once(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    up, down = os.urandom(3 << 20), os.urandom(2 << 20)
    _, _, got_up, got_down = await asyncio.gather(
        loop.sock_sendall(joined.client, up),
        loop.sock_sendall(joined.box, down),
        _read(joined.box, len(up)),
        _read(joined.client, len(down)),
    )
    assert (got_up, got_down) == (up, down)
    assert joined.link.moved == len(up) + len(down)


async def test_each_side_ends_for_itself(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(joined.client, b"bye")
    joined.client.shutdown(socket.SHUT_WR)
    assert await _read(joined.box, 99) == b"bye"
    await loop.sock_sendall(joined.box, b"and you")
    assert await _read(joined.client, 7) == b"and you"
    assert not joined.gone.is_set()
    joined.box.close()
    await joined.gone.wait()
    assert await _read(joined.client, 1) == b""


async def test_what_is_held_arrives_before_the_end(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    data = os.urandom(16 << 20)
    sending = loop.create_task(loop.sock_sendall(joined.client, data))
    sending.add_done_callback(lambda _: joined.client.shutdown(socket.SHUT_WR))
    await asyncio.sleep(0.05)
    assert await _read(joined.box, 17 << 20) == data


async def test_abort_resets_both(joined: Joined) -> None:
    joined.link.abort()
    joined.link.abort()
    assert joined.gone.is_set()
    for side in (joined.client, joined.box):
        with pytest.raises(ConnectionResetError):
            await _read(side, 1)


async def test_a_half_closed_link_where_nothing_moves_ends(
    monkeypatch: pytest.MonkeyPatch, joined: Joined
) -> None:
    monkeypatch.setattr(splice, "HALF_CLOSED_S", 0.02)
    joined.client.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(5):
        await joined.gone.wait()


def test_pipes_are_kept_bounded_and_given_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pipes = Pipes(most=2, store=1)
    taken = [pipes.take() for _ in range(3)]
    assert [type(pipe) for pipe in taken] == [Pipe, Pipe, Copy]
    for pipe in taken:
        pipes.give(pipe)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert isinstance(pipes.take(), Pipe)
    assert isinstance(pipes.take(), Pipe)
    assert isinstance(pipes.take(), Copy)


def test_a_pipe_that_holds_bytes_is_not_used_again() -> None:
    near, far = _pair()
    pipes = Pipes()
    pipe = pipes.take()
    far.send(b"somebody's")
    near.setblocking(True)
    assert pipe.fill(near) == 10
    pipes.give(pipe)
    fresh = pipes.take()
    assert fresh is not pipe
    pipes.give(fresh)
    pipes.close()
    near.close()
    far.close()


def test_no_descriptors_left_means_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe2", none)
    assert isinstance(Pipes().take(), Copy)
