"""Whole sessions over real sockets: resume, takeover, ends."""

import asyncio
import hashlib
import os

import pytest

from devbox.edge.links import Lane, SessionState, Stream
from devbox.model.errors import Conflict, DevboxError, Forbidden, Unauthorized
from devbox.model.grants import Scope
from tests.support.links import SCOPE_HEADER, TOKEN_HEADER, pair

pytestmark = pytest.mark.timeout(30)


async def read_all(stream: Stream) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


@pytest.mark.smoke
@pytest.mark.parametrize("lane", list(Lane))
async def test_bytes_go_there_and_back(lane: Lane) -> None:
    data = os.urandom(3_000_000)
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo", {"a": 1}, lane)

        async def send() -> None:
            await stream.write(data)
            await stream.end()

        _, got = await asyncio.gather(send(), read_all(stream))
        assert got == data
        assert stream.params == {"a": 1}


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_session_outlives_cuts_at_any_byte(lane: Lane) -> None:
    data = os.urandom(2_000_000)
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo", lane=lane)

        async def send() -> None:
            for at in range(0, len(data), 50_000):
                await stream.write(data[at : at + 50_000])
                if at % 500_000 == 0:
                    agent.relay.budget = 123_457 + at // 7
            await stream.end()

        _, got = await asyncio.gather(send(), read_all(stream))
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        assert agent.relay.accepted > 3


async def test_the_session_waits_while_the_gateway_is_away() -> None:
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo")
        await stream.write(b"one")
        assert await stream.read() == b"one"
        port = await agent.relay.stop()
        await stream.write(b"two")
        await asyncio.sleep(0.1)
        await agent.relay.start(port)
        assert await stream.read() == b"two"
    states = [event.state for event in agent.events]
    assert states[:3] == [SessionState.LINKED, SessionState.LINKLESS, SessionState.LINKED]


async def test_a_revoked_token_ends_its_sessions_and_nobody_dials_again() -> None:
    async with pair() as agent, agent.client(headers={TOKEN_HEADER: "t2"}) as other:
        async with agent.client() as session:
            kept = await other.open("echo")
            stream = await session.open("echo")
            await stream.write(b"x")
            assert await stream.read() == b"x"
            assert await agent.server.end_tokens({"t1"}) == 1
            with pytest.raises(Unauthorized, match="revoked"):
                await stream.read()
            with pytest.raises(Unauthorized, match="revoked"):
                await session.open("echo")
        await kept.write(b"y")
        assert await kept.read() == b"y"
        assert agent.relay.accepted == 2


async def test_a_scope_that_is_too_narrow() -> None:
    def may_open(service: str, scopes: tuple[Scope, ...]) -> bool:
        return Scope.FULL in scopes

    headers = {SCOPE_HEADER: "lsp"}
    async with pair(may_open=may_open) as agent, agent.client(headers=headers) as session:
        stream = await session.open("ssh")
        with pytest.raises(Forbidden, match="'ssh'"):
            await stream.read()


async def test_a_service_that_fails_says_so() -> None:
    async def broken(stream: Stream) -> None:
        await stream.write(b"so far")
        raise Conflict("no further", "Turn back.")

    async with pair(broken) as agent, agent.client() as session:
        stream = await session.open("x")
        with pytest.raises(DevboxError) as caught:
            await read_all(stream)
        assert (type(caught.value), caught.value.hint) == (Conflict, "Turn back.")


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_gibibyte_on_two_lanes_under_a_thousand_cuts() -> None:
    size, block = 1 << 30, os.urandom(1 << 20)
    async with pair() as agent, agent.client() as session:
        bulk = await session.open("echo", lane=Lane.BULK)
        keys = await session.open("echo")

        async def send() -> None:
            for _ in range(size // len(block)):
                agent.relay.budget = int.from_bytes(os.urandom(3), "big") // 8 + 1
                await bulk.write(block)
            await bulk.end()

        async def receive() -> int:
            got, at = 0, 0
            while data := await bulk.read():
                assert data == (block[at:] + block)[: len(data)]
                got, at = got + len(data), (at + len(data)) % len(block)
            return got

        async def type_keys() -> None:
            while not bulk_done.is_set():
                await keys.write(b"k")
                assert await keys.read() == b"k"
                await asyncio.sleep(0.01)

        bulk_done = asyncio.Event()
        typing = asyncio.gather(type_keys())
        _, got = await asyncio.gather(send(), receive())
        bulk_done.set()
        await typing
        assert got == size
        assert agent.relay.accepted > 500
