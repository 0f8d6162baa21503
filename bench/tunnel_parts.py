"""Processes of the tunnel bench, each started by name: source, sink, relay, house, inside.

Knows nothing of measuring; every part prints one JSON line when it is ready.
"""

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from devbox.edge.layout import Layout
from devbox.edge.links import Lane, Request, SessionServer, Target, connect, listen
from devbox.edge.links.connecting import connect_any
from devbox.edge.pacing import unpace
from devbox.edge.rpc import serve
from devbox.model import orchestrator as o
from devbox.model.grants import GRANT_HEADER, Grant
from devbox.model.projects import ProjectSpec
from devbox.wire.websocket import BINARY, apply_mask, pack_header, parse_header
from gateway.tunnel.splice import Pipes, SplicedLink
from in_box_agent.admission import Admission, may_open
from in_box_agent.services.tcp import serve_tcp
from tests.support.orchestrator import FakeOrchestrator

_BLOCK = 1 << 20


def ready(**facts: Any) -> None:
    """Tell the bench that the part serves."""
    print(json.dumps(facts), flush=True)


def sink() -> None:
    """Answer each connection: b"u" takes bytes and answers 1 at their end, b"d" + 8 sends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    ready(port=listener.getsockname()[1])
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_sink_one, args=(sock,), daemon=True).start()


def _sink_one(sock: socket.socket) -> None:
    with sock, contextlib.suppress(OSError):
        what = sock.recv(1, socket.MSG_WAITALL)
        total = int.from_bytes(sock.recv(8, socket.MSG_WAITALL), "big")
        if what == b"u":
            take(sock, total)
            sock.sendall(b"1")
        else:
            give(sock, total)
        sock.recv(1)


def take(sock: socket.socket, total: int) -> None:
    """Read `total` bytes."""
    block = bytearray(_BLOCK)
    while total > 0:
        count = sock.recv_into(block, min(_BLOCK, total))
        if not count:
            raise SystemExit("the connection ended early")
        total -= count


def give(sock: socket.socket, total: int) -> None:
    """Write `total` bytes that do not compress."""
    block = memoryview(os.urandom(_BLOCK))
    while total > 0:
        count = min(_BLOCK, total)
        sock.sendall(block[:count])
        total -= count


def source(port: str, direction: str, size: str) -> None:
    """Move `size` bytes through `port` once; prints the seconds it took."""
    total = int(size)
    with socket.create_connection(("127.0.0.1", int(port))) as sock:
        begun = time.perf_counter()
        sock.sendall(direction.encode() + total.to_bytes(8, "big"))
        if direction == "u":
            give(sock, total)
            assert sock.recv(1) == b"1"
        else:
            take(sock, total)
        ready(seconds=time.perf_counter() - begun)


def ws_source(port: str, direction: str, size: str, ca: str = "") -> None:
    """As `source`, through a websocket server that stands before the sink (websockify)."""
    total = int(size)
    with _secured(socket.create_connection(("127.0.0.1", int(port))), ca) as sock:
        _upgrade(sock)
        begun = time.perf_counter()
        _send(sock, direction.encode() + total.to_bytes(8, "big"))
        if direction == "u":
            block = os.urandom(_BLOCK >> 2)
            for _ in range(total // len(block)):
                _send(sock, block)
            total = 1
        _receive(sock, total)
        ready(seconds=time.perf_counter() - begun)


def _secured(sock: socket.socket, ca: str) -> socket.socket:
    if not ca:
        return sock
    context = ssl.create_default_context(cafile=ca)
    return context.wrap_socket(sock, server_hostname="127.0.0.1")


def _upgrade(sock: socket.socket) -> None:
    sock.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)


def _send(sock: socket.socket, data: bytes) -> None:
    key = os.urandom(4)
    sock.sendall(pack_header(BINARY, len(data), key) + apply_mask(data, key))


def _receive(sock: socket.socket, total: int) -> None:
    """Read messages until `total` bytes of payload came."""
    buffer = bytearray(_BLOCK)
    while total > 0:
        head = _exactly(sock, 2)
        head += _exactly(sock, {126: 2, 127: 8}.get(head[1], 0))
        parsed = parse_header(memoryview(head), masked=False)
        assert parsed is not None
        total -= parsed.length
        left = parsed.length
        while left:
            left -= sock.recv_into(buffer, min(left, _BLOCK))


def _exactly(sock: socket.socket, count: int) -> bytearray:
    """MSG_WAITALL, which TLS has not."""
    data = bytearray()
    while len(data) < count:
        data += sock.recv(count - len(data))
    return data


async def _relay(target: int) -> None:
    """As the gateway does after an upgrade."""
    loop = asyncio.get_running_loop()
    pipes = Pipes()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        unpace(listener)
        ready(port=listener.getsockname()[1])
        while True:
            near, _ = await loop.sock_accept(listener)
            near.setblocking(False)
            far = await connect_any("127.0.0.1", target)
            for side in (near, far):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            SplicedLink(near, far, pipes).start(lambda: None)


def lay_out(home: Path, pem: str) -> tuple[Layout, Ed25519PrivateKey]:
    """A server's folders with what a gateway reads of them."""
    layout = Layout(home / "data", home / "run")
    for folder in (layout.keys, layout.run):
        folder.mkdir(parents=True)
    key = Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (layout.keys / "grant.key").write_bytes(raw)
    layout.settings.write_text(f'gateway_port = 0\ntls_cert = "{pem}"\n')
    return layout, key


async def _house(home: Path, agent_port: int, pem: str) -> None:
    """An Orchestrator with one project, whose box is this process: real sessions, real tcp."""
    layout, key = lay_out(home, pem)
    fake = FakeOrchestrator()
    spec = ProjectSpec(runtime="python")
    made = await fake.create_project(o.CreateProject(namespace="team", name="hello", spec=spec))
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    admission = Admission(made.project.uid, (base64.b64encode(public).decode(),))
    server = SessionServer(serve_tcp, may_open=may_open)
    fake.box_ip = await _listen(server, admission, agent_port)
    fake.set_status(o.ProjectKey(namespace="team", name="hello"), box_ip=fake.box_ip)
    controller = await serve(
        layout.orchestrator_socket, protocol=o.Orchestrator, implementation=fake
    )
    (home / "token").write_text(fake.admin_token)
    ready(path=f"/home/here/team/hello/{made.token}")
    await asyncio.Event().wait()
    await controller.cleanup()


async def _listen(server: SessionServer, admission: Admission, port: int) -> str:
    """Boxes have addresses of their own, all with the same port: take a free one of loopback."""

    def verify(request: Request) -> Grant:
        return admission.admit(request.headers[GRANT_HEADER.lower()], time.time())

    for last in range(2, 250):
        with contextlib.suppress(OSError):
            await listen(f"127.0.0.{last}", port, server, verify=verify)
            return f"127.0.0.{last}"
    raise SystemExit("no address of loopback is free")


async def _inside(url: str, ca: str, port: str, direction: str, size: str) -> None:
    """A source that holds a session itself, as `ws_source` holds a websocket."""
    total, block = int(size), os.urandom(_BLOCK)
    trusted = ssl.create_default_context(cafile=ca) if ca else None
    async with connect("", target=Target(url, ssl=trusted)) as session:
        params = {"host": "127.0.0.1", "port": int(port)}
        stream = await session.open("tcp", params, Lane.BULK)
        begun = time.perf_counter()
        await stream.write(direction.encode() + total.to_bytes(8, "big"))
        if direction == "u":
            for _ in range(total // len(block)):
                await stream.write(block)
            total = 1
        while total > 0:
            total -= len(await stream.read())
        ready(seconds=time.perf_counter() - begun)


def relay(target: str) -> None:
    """The gateway's own relay, as after an upgrade."""
    uvloop.run(_relay(int(target)))


def house(home: str, agent_port: str, pem: str = "") -> None:
    """All that the gateway needs, and a box."""
    uvloop.run(_house(Path(home), int(agent_port), pem))


def inside(url: str, ca: str, port: str, direction: str, size: str) -> None:
    """Bytes through a session, without a forwarded port."""
    uvloop.run(_inside(url, ca, port, direction, size))


if __name__ == "__main__":
    {one.__name__: one for one in (sink, source, ws_source, relay, house, inside)}[sys.argv[1]](
        *sys.argv[2:]
    )
