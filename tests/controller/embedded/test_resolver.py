"""Names over real sockets on loopback: boxes' names here, all others at the machine's servers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from controller.embedded.network import Network
from controller.embedded.resolver import Resolver, name_servers
from controller.embedded.rules import Neighbour, Net
from devbox.edge.tasks import Tasks
from tests.controller.embedded.test_names import code, query

# Every address of 127.0.0.0/8 is this machine's: .2 plays a box.
_NET = Net(subnet=IPv4Network("127.88.0.0/24"), bridge="none", gateway_port=1, registry_port=2)
_BOX = "127.88.0.2"


class Upstream(asyncio.DatagramProtocol):
    """A name server that answers every question with itself, reversed."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.transport.sendto(data[:2] + b"upstream", addr)


class Names:
    """A running resolver, asked as a box would ask."""

    def __init__(self, port: int, upstream: Upstream, network: Network) -> None:
        self.port = port
        self.upstream = upstream
        self.network = network

    async def udp(self, message: bytes, source: str = _BOX, wait_s: float = 5.0) -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((source, 0))
            await loop.sock_connect(sock, (_NET.gateway, self.port))
            await loop.sock_sendall(sock, message)
            async with asyncio.timeout(wait_s):
                return await loop.sock_recv(sock, 4096)

    async def tcp(self, message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(
            _NET.gateway, self.port, local_addr=(_BOX, 0)
        )
        try:
            writer.write(struct.pack(">H", len(message)) + message)
            head = await reader.readexactly(2)
            return await reader.readexactly(int.from_bytes(head, "big"))
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def names(tmp_path: Path) -> AsyncIterator[Names]:
    loop = asyncio.get_running_loop()
    upstream = Upstream()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: upstream, local_addr=("127.0.0.1", 0)
    )
    server = ("127.0.0.1", int(transport.get_extra_info("sockname")[1]))
    network = Network(_NET, tmp_path)
    network._boxes = {
        _BOX: Neighbour("team", "hello"),
        "127.88.0.3": Neighbour("team", "db"),
        "127.88.0.4": Neighbour("foreign", "secret"),
    }
    async with Tasks("test") as tasks:
        # The first server does not listen: the second is asked.
        resolver = Resolver(network, tasks, lambda: [("127.0.0.1", 9), server])
        port = await resolver.start(0)
        yield Names(port, upstream, network)
        await resolver.close()
    transport.close()


async def test_a_box_finds_its_neighbour(names: Names) -> None:
    for ask in (names.udp, names.tcp):
        said = await ask(query("db.team.devbox.internal"))
        assert said.endswith(bytes([127, 88, 0, 3]))
    assert code(await names.udp(query("secret.foreign.devbox.internal"))) == 3
    assert names.upstream.asked == []


async def test_other_names_are_asked_of_the_machines_servers(names: Names) -> None:
    assert (await names.udp(query("example.org")))[2:] == b"upstream"
    assert names.upstream.asked == [query("example.org")]
    # Over TCP nobody up there listens: the box is told at once.
    assert code(await names.tcp(query("example.org"))) == 2


async def test_who_is_no_box_is_not_served(names: Names) -> None:
    with pytest.raises(TimeoutError):
        await names.udp(query("example.org"), source="127.88.0.99", wait_s=0.2)
    assert names.upstream.asked == []


def test_name_servers_come_from_the_machines_file(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    assert name_servers(path) == []
    path.write_text("# x\nnameserver 192.0.2.1\nsearch a b\nnameserver ::1\nnameserver\n")
    assert name_servers(path) == [("192.0.2.1", 53), ("::1", 53)]
