"""TLS on our own socket: any chunking, both ends, what is no TLS, and who reads slowly."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from devbox.edge.layout import ServerSettings
from gateway.server import trust
from gateway.tls import Secure
from tests.support.certificates import Certificate, make_certificate
from tests.support.tls_client import Client


class Upper(asyncio.Protocol):
    """What stands above the transport: takes notes, and echoes if told so."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.got = b""
        self.more = asyncio.Event()
        self.ended = asyncio.Event()
        self.lost = asyncio.Event()
        self.paused = asyncio.Event()
        self.echoes = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.more.set()
        if self.echoes and self.transport is not None:
            self.transport.write(data)

    def pause_writing(self) -> None:
        self.paused.set()

    def eof_received(self) -> bool:
        self.ended.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Waiting:
    """Who has not said anything yet."""

    def __init__(self) -> None:
        self.now: list[Secure] = []

    def arrived(self, one: Secure) -> None:
        self.now.append(one)

    def left(self, one: Secure) -> None:
        if one in self.now:
            self.now.remove(one)


class Place:
    """A server and how to come to it."""

    def __init__(self, certificate: Certificate) -> None:
        self.certificate = certificate
        self.uppers: asyncio.Queue[Upper] = asyncio.Queue()
        self.waiting = Waiting()
        self.port = 0

    def made(self) -> Upper:
        upper = Upper()
        self.uppers.put_nowait(upper)
        return upper

    async def dial(self) -> Client:
        return await Client.connect("127.0.0.1", self.port, self.certificate.client())


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    found = Place(make_certificate(tmp_path))
    settings = ServerSettings(
        tls_cert=str(found.certificate.certificate), tls_key=str(found.certificate.key)
    )
    context = trust(settings)
    assert context is not None
    server = await asyncio.get_running_loop().create_server(
        lambda: Secure(context, found.made, found.waiting, 20.0), "127.0.0.1", 0
    )
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
async def test_any_chunking(place: Place, step: int) -> None:
    client = await place.dial()
    await client.shake(step)
    data = os.urandom(3000)
    await client.send(data, step)
    assert await client.exactly(len(data)) == data
    client.sock.close()


async def test_much_goes_both_ways(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    data = os.urandom(5 << 20)
    for at in range(0, len(data), 1 << 20):
        piece = data[at : at + (1 << 20)]
        await client.send(piece)
        assert await client.exactly(len(piece)) == piece
    client.sock.close()


async def test_each_side_ends_for_itself(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    await client.send(b"bye")
    await client.end()
    upper = await place.uppers.get()
    await upper.ended.wait()
    assert upper.got == b"bye"
    assert upper.transport is not None
    upper.transport.write(b" and you")
    upper.transport.write_eof()
    assert await client.exactly(99) == b"bye and you"
    upper.transport.close()
    client.sock.close()
    await upper.lost.wait()


async def test_our_end_leaves_theirs_open(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    await client.send(b"x")
    upper = await place.uppers.get()
    await upper.more.wait()
    assert upper.transport is not None
    upper.transport.write_eof()
    assert await client.exactly(99) == b"x"
    upper.more.clear()
    await client.send(b"still here")
    await upper.more.wait()
    assert upper.got == b"xstill here"
    client.sock.close()


async def test_an_end_that_is_not_signed_is_a_break(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    await client.send(b"x")
    upper = await place.uppers.get()
    client.sock.close()
    await upper.lost.wait()
    assert not upper.ended.is_set()


async def test_what_is_no_tls_is_dropped(place: Place) -> None:
    client = await place.dial()
    await asyncio.get_running_loop().sock_sendall(client.sock, b"GET / HTTP/1.1\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        while await client.hear():
            pass
    assert place.waiting.now == []
    assert place.uppers.empty()
    client.sock.close()


async def test_who_does_not_shake_hands_waits_and_can_be_dropped(place: Place) -> None:
    client = await place.dial()
    while not place.waiting.now:
        await asyncio.sleep(0.01)
    place.waiting.now[0].drop()
    with contextlib.suppress(ConnectionResetError):
        assert not await client.hear()
    assert place.waiting.now == []
    client.sock.close()


async def test_a_slow_reader_stops_the_writer(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    await client.send(b"x")
    upper = await place.uppers.get()
    await upper.more.wait()
    upper.echoes = False
    transport, written = upper.transport, 1
    assert transport is not None
    transport.set_write_buffer_limits(high=256 << 10)
    while not upper.paused.is_set():
        transport.write(bytes(64 << 10))
        written += 64 << 10
        await asyncio.sleep(0)
    assert transport.get_write_buffer_size() < 512 << 10
    assert await client.exactly(written) == b"x" + bytes(written - 1)
    client.sock.close()


async def test_who_wants_nothing_is_given_nothing(place: Place) -> None:
    client = await place.dial()
    await client.shake()
    await client.send(b"x")
    upper = await place.uppers.get()
    await upper.more.wait()
    assert upper.transport is not None
    upper.transport.pause_reading()
    assert not upper.transport.is_reading()
    upper.more.clear()
    await client.send(b"later")
    await asyncio.sleep(0.05)
    assert upper.got == b"x"
    upper.transport.resume_reading()
    await upper.more.wait()
    assert upper.got == b"xlater"
    client.sock.close()
