"""Sockets joined to streams: bytes, half closes, refusals."""

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from devbox.edge.links import BridgeServer, Lane, Stream, bridge_tcp, bridge_unix, pump_socket
from devbox.model.errors import DevboxError, Unavailable
from tests.support.links import Pair, pair


@pytest.fixture
async def shouter() -> AsyncIterator[int]:
    """A TCP server that answers in upper case only after its client's half close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data.upper())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _tcp(stream: Stream) -> None:
    if "path" in stream.params:
        await bridge_unix(stream, stream.params["path"])
    else:
        await bridge_tcp(stream, "127.0.0.1", stream.params["port"])


async def _ask(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_forwarded_port_half_closes(shouter: int, lane: Lane) -> None:
    data = os.urandom(700_000).hex().encode()
    async with pair(_tcp) as agent, agent.client() as session:
        server = BridgeServer(lambda: session.open("tcp", {"port": shouter}, lane))
        port = await server.start_tcp("127.0.0.1", 0)
        answers = await asyncio.gather(*(_ask(port, data) for _ in range(3)))
        assert answers == [data.upper()] * 3
        await server.close()


async def test_a_forwarded_port_survives_a_cut(shouter: int) -> None:
    data = os.urandom(500_000).hex().encode()
    async with pair(_tcp) as agent, agent.client() as session:
        server = BridgeServer(lambda: session.open("tcp", {"port": shouter}))
        port = await server.start_tcp("127.0.0.1", 0)
        agent.relay.budget = 400_001
        assert await _ask(port, data) == data.upper()
        assert agent.relay.accepted == 2
        await server.close()


async def test_nobody_listens_there() -> None:
    async with pair(_tcp) as agent, agent.client() as session:
        stream = await session.open("tcp", {"path": "/nowhere.sock"})
        with pytest.raises(Unavailable, match="nothing answers at /nowhere"):
            await stream.read()


async def test_a_bridge_that_fails_says_why_and_resets_its_socket() -> None:
    told: asyncio.Queue[DevboxError] = asyncio.Queue()
    async with pair(_tcp) as agent, agent.client() as session:
        opening = partial(session.open, "tcp", {"path": "/nowhere.sock"})
        server = BridgeServer(opening, told.put_nowait)
        port = await server.start_tcp("127.0.0.1", 0)
        with pytest.raises(ConnectionResetError):
            await _ask(port, b"")
        assert "nothing answers" in (await told.get()).message
        await server.close()


async def test_a_socket_that_resets_closes_its_stream() -> None:
    opened = asyncio.Event()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hold(stream: Stream) -> None:
        opened.set()
        try:
            while await stream.read():
                pass
            ended.set_result("at the end of data")
        except Unavailable as error:
            ended.set_result(error.message)

    async with pair(hold) as agent, agent.client() as session:
        server = BridgeServer(lambda: session.open("x"))
        port = await server.start_tcp("127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        await opened.wait()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        assert "the socket broke" in await ended
        await server.close()


async def test_unix_sockets_both_ways(shouter: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        near, far = f"{folder}/near", f"{folder}/far"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(3))
            writer.close()

        target = await asyncio.start_unix_server(serve, far)
        async with pair(_tcp) as agent:
            await _through_unix(agent, near, far)
        target.close()


async def _through_unix(agent: Pair, near: str, far: str) -> None:
    async with agent.client() as session:
        server = BridgeServer(lambda: session.open("tcp", {"path": far}))
        await server.start_unix(near)
        assert Path(near).is_socket()
        reader, writer = await asyncio.open_unix_connection(near)
        writer.write(b"abc")
        assert await reader.read() == b"abc"
        writer.close()
        await server.close()


async def test_pump_socket(shouter: int) -> None:
    async def serve(stream: Stream) -> None:
        await pump_socket(stream, *await asyncio.open_connection("127.0.0.1", shouter))

    async with pair(serve) as agent, agent.client() as session:
        stream = await session.open("x")
        await stream.write(b"hello")
        await stream.end()
        assert await stream.read() == b"HELLO"
        assert await stream.read() == b""
