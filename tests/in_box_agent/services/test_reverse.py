"""Ports of the box that lead to the client: who may take a connection, and how many may wait."""

import asyncio
import json
from typing import Any

import pytest

from devbox.edge.links import ClientSession, Lane, Stream
from devbox.model.errors import BadInput, NotFound
from in_box_agent.services.reverse import Reverse
from tests.support.links import pair


async def told(stream: Stream) -> dict[str, Any]:
    """The next line."""
    line = b""
    while not line.endswith(b"\n"):
        line += await stream.read(1)
    found: dict[str, Any] = json.loads(line)
    return found


async def listener(session: ClientSession) -> tuple[Stream, int]:
    stream = await session.open("reverse", {"port": 0})
    return stream, int((await told(stream))["port"])


async def test_bytes_both_ways_and_half_close() -> None:
    async with pair(Reverse().serve) as agent, agent.client() as session:
        control, port = await listener(session)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = (await told(control))["connection"]
        stream = await session.open("reverse", {"accept": number}, Lane.BULK)
        writer.write(b"from the box")
        writer.write_eof()
        assert await stream.read() + await stream.read() == b"from the box"
        await stream.write(b"back")
        await stream.end()
        assert await reader.read() == b"back"
        writer.close()


async def test_a_connection_is_its_sessions_and_is_taken_once() -> None:
    async with (
        pair(Reverse().serve) as agent,
        agent.client() as session,
        agent.client() as stranger,
    ):
        control, port = await listener(session)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        number = (await told(control))["connection"]
        with pytest.raises(NotFound):
            await (await stranger.open("reverse", {"accept": number})).read()
        stream = await session.open("reverse", {"accept": number})
        writer.write(b"x")
        assert await stream.read() == b"x"
        with pytest.raises(NotFound):
            await (await session.open("reverse", {"accept": number})).read()
        writer.close()


async def test_only_so_many_wait_and_all_go_with_their_listener() -> None:
    reverse = Reverse()
    async with pair(reverse.serve) as agent, agent.client() as session:
        control, port = await listener(session)
        assert reverse.ports == {port}
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(65)]
        with pytest.raises(ConnectionResetError):
            await ends[-1][0].read()
        await control.close()
        for reader, _ in ends[:-1]:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert reverse.ports == frozenset()
        for _, writer in ends:
            writer.close()


@pytest.mark.parametrize("params", [{"port": -1}, {"port": 70000}, {"port": "x"}, {"nonsense": 1}])
async def test_wrong_parameters(params: dict[str, Any]) -> None:
    async with pair(Reverse().serve) as agent, agent.client() as session:
        with pytest.raises(BadInput):
            await (await session.open("reverse", params)).read()
