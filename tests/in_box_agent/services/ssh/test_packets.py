"""Channel data on the short way: new keys while they flow, any pieces, a changed byte."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from in_box_agent.services.ssh.packets import PacketConnection

DATA = os.urandom(700_000)


class Welcoming(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


class Counting(PacketConnection):
    """Counts key exchanges; can take what it receives byte by byte, or change a byte of it."""

    exchanges = 0
    piece = 1 << 20
    change_at = -1

    def _send_kexinit(self) -> None:
        self.exchanges += 1
        super()._send_kexinit()

    def data_received(self, data: bytes, datatype: Any = None) -> None:
        if self.change_at >= 0 and self._auth_complete:
            data = data[:-1] + bytes([data[-1] ^ 1])
        for at in range(0, len(data), self.piece):
            super().data_received(data[at : at + self.piece], datatype)


async def _echo(process: asyncssh.SSHServerProcess[bytes]) -> None:
    while data := await process.stdin.read(50_000):
        process.stdout.write(data)
        await process.stdout.drain()
    process.exit(0)


@asynccontextmanager
async def connected(
    cipher: str, **options: Any
) -> AsyncIterator[tuple[Counting, asyncssh.SSHClientConnection]]:
    """Our server and asyncssh's client."""
    chosen = asyncssh.SSHServerConnectionOptions(
        server_factory=Welcoming,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_echo,
        encoding=None,
        compression_algs=["none"],
        **options,
    )
    loop = asyncio.get_running_loop()
    server = Counting(loop, chosen, wait=None)
    listener = await loop.create_server(lambda: server, "127.0.0.1", 0)
    client = await asyncssh.connect(
        "127.0.0.1",
        listener.sockets[0].getsockname()[1],
        known_hosts=None,
        username="any",
        encryption_algs=[cipher],
        config=None,
    )
    try:
        yield server, client
    finally:
        client.abort()
        server.abort()
        await client.wait_closed()
        listener.close()


async def echoed(client: asyncssh.SSHClientConnection) -> bytes:
    async with asyncio.timeout(60):
        done = await client.run("x", input=DATA, encoding=None)
    assert isinstance(done.stdout, bytes)
    return done.stdout


@pytest.mark.parametrize(
    "cipher", ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr"]
)
async def test_the_server_asks_for_new_keys_while_data_flow(cipher: str) -> None:
    async with connected(cipher, rekey_bytes=100_000) as (server, client):
        assert await echoed(client) == DATA
        assert server.exchanges > 3


async def test_byte_by_byte() -> None:
    async with connected("aes128-gcm@openssh.com") as (server, client):
        server.piece = 1
        assert await echoed(client) == DATA


async def test_a_changed_byte_ends_the_connection() -> None:
    async with connected("aes128-gcm@openssh.com") as (server, client):
        server.change_at = 0
        with pytest.raises((asyncssh.Error, OSError)):
            await echoed(client)
        assert server.is_closed() or server._transport is None
