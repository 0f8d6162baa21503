"""Serves names to boxes on the host's address in their network; UDP and TCP.

Names that are not a box's are asked of the machine's own name servers and passed back unread.
"""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from controller.embedded.names import answer, failure
from controller.embedded.network import Network
from controller.embedded.rules import DNS_PORT, Neighbour
from devbox.edge.tasks import Tasks

_log = structlog.get_logger()
_FORWARD_S = 2.0
_IDLE_S = 10.0
_MAX_PENDING = 512
_RESOLV_CONF = Path("/etc/resolv.conf")


class Resolver:
    """Answers boxes by who asks."""

    def __init__(
        self, network: Network, tasks: Tasks, servers: Callable[[], list[tuple[str, int]]]
    ) -> None:
        self._network = network
        self._tasks = tasks
        self._servers = servers
        self._pending = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def start(self, port: int = DNS_PORT) -> int:
        """Listen on the network's gateway address. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        host = self._network.net.gateway
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._datagram), local_addr=(host, port)
        )
        bound: int = self._udp.get_extra_info("sockname")[1]
        self._tcp = await asyncio.start_server(self._connection, host, bound)
        return bound

    async def close(self) -> None:
        """Stop listening."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()

    async def ask(self, message: bytes, address: str, *, tcp: bool) -> bytes | None:
        """The answer to a message from a box's address."""
        box = self._network.whose(address)
        own = answer(message, box.namespace if box else None, self._find)
        if own is not None or box is None:
            return own
        return await self._forward(message, tcp=tcp)

    def _find(self, namespace: str, project: str) -> str | None:
        return self._network.address_of(Neighbour(namespace, project))

    async def _forward(self, message: bytes, *, tcp: bool) -> bytes | None:
        if self._pending >= _MAX_PENDING:
            return failure(message)
        self._pending += 1
        try:
            for server in self._servers():
                try:
                    async with asyncio.timeout(_FORWARD_S):
                        return await (_ask_tcp if tcp else _ask_udp)(message, server)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    _log.debug("name_server_failed", server=server[0], error=repr(error))
        finally:
            self._pending -= 1
        return failure(message)

    def _datagram(self, message: bytes, peer: tuple[str, int]) -> None:
        async def reply() -> None:
            said = await self.ask(message, peer[0], tcp=False)
            if said is not None and self._udp and not self._udp.is_closing():
                self._udp.sendto(said, peer)

        if self._pending < _MAX_PENDING:
            self._tasks.start(reply(), "name")

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0]
        try:
            async with asyncio.timeout(_IDLE_S):
                while (message := await _read_tcp(reader)) is not None:
                    said = await self.ask(message, peer, tcp=True)
                    if said is None:
                        break
                    writer.write(struct.pack(">H", len(said)) + said)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def name_servers(path: Path = _RESOLV_CONF) -> list[tuple[str, int]]:
    """The machine's name servers (resolv.conf(5)); read each time, for they change."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [(word[1], DNS_PORT) for word in words if len(word) > 1 and word[0] == "nameserver"]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(
        self,
        got: Callable[[bytes, Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._got = got
        self._failed = failed

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._got(data, addr)

    def error_received(self, exc: Exception) -> None:
        if self._failed:
            self._failed(exc)


async def _ask_udp(message: bytes, server: tuple[str, int]) -> bytes:
    loop = asyncio.get_running_loop()
    got: asyncio.Future[bytes] = loop.create_future()

    def take(data: bytes, _: Any) -> None:
        if data[:2] == message[:2] and not got.done():
            got.set_result(data)

    def fail(error: Exception) -> None:
        if not got.done():
            got.set_exception(error)

    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(take, fail), remote_addr=server
    )
    try:
        transport.sendto(message)
        return await got
    finally:
        transport.close()


async def _ask_tcp(message: bytes, server: tuple[str, int]) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack(">H", len(message)) + message)
        return await _read_tcp(reader) or b""
    finally:
        writer.close()


async def _read_tcp(reader: asyncio.StreamReader) -> bytes | None:
    head = await reader.read(2)
    if not head:
        return None
    if len(head) == 1:
        head += await reader.readexactly(1)
    return await reader.readexactly(int.from_bytes(head, "big"))
