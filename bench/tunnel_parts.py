"""Processes of the tunnel bench, each started by name: source, sink, relay, agent, client.

Knows nothing of measuring; every part prints one JSON line when it is ready.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from typing import Any

import uvloop

from devbox.edge.links import (
    BridgeServer,
    Lane,
    Request,
    SessionServer,
    Stream,
    bridge_tcp,
    connect,
    listen,
)
from devbox.model.grants import Grant, Scope
from devbox.wire.websocket import BINARY, apply_mask, pack_header, parse_header
from gateway.tunnel.splice import Pipes, SplicedLink

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


def ws_source(port: str, direction: str, size: str) -> None:
    """As `source`, through a websocket server that stands before the sink (websockify)."""
    total = int(size)
    with socket.create_connection(("127.0.0.1", int(port))) as sock:
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
        head = bytearray(sock.recv(2, socket.MSG_WAITALL))
        head += sock.recv({126: 2, 127: 8}.get(head[1], 0), socket.MSG_WAITALL)
        parsed = parse_header(memoryview(head), masked=False)
        assert parsed is not None
        total -= parsed.length
        left = parsed.length
        while left:
            left -= sock.recv_into(buffer, min(left, _BLOCK))


async def _relay(target: int) -> None:
    loop = asyncio.get_running_loop()
    pipes = Pipes()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        ready(port=listener.getsockname()[1])
        while True:
            near, _ = await loop.sock_accept(listener)
            far = socket.create_connection(("127.0.0.1", target))
            for side in (near, far):
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            SplicedLink(near, far, pipes).start(lambda: None)


async def _tcp(stream: Stream) -> None:
    if stream.service == "memory":
        await _memory(stream)
        return
    await bridge_tcp(stream, "127.0.0.1", stream.params["port"])


async def _memory(stream: Stream) -> None:
    total, block = stream.params["size"], bytes(_BLOCK >> 2)
    if stream.params["direction"] == "d":
        for _ in range(total // len(block)):
            await stream.write(block)
    else:
        while total > 0 and (data := await stream.read()):
            total -= len(data)
        await stream.write(b"1")
    await stream.end()


async def _agent() -> None:
    server = SessionServer(_tcp, may_open=lambda *_: True)
    listener = await listen("127.0.0.1", 0, server, verify=_grant)
    ready(port=listener.port)
    await asyncio.Event().wait()


def _grant(_: Request) -> Grant:
    return Grant(project_uid="p", token_id="t", scopes=(Scope.FULL,), expires=0.0, nonce="")


async def _client(url: str, port: str) -> None:
    async with connect(url) as session:
        server = BridgeServer(lambda: session.open("tcp", {"port": int(port)}, Lane.BULK))
        ready(port=await server.start_tcp("127.0.0.1", 0))
        await asyncio.Event().wait()


async def _memory_client(url: str, direction: str, size: str, lane: str) -> None:
    total, block = int(size), bytes(_BLOCK >> 2)
    async with connect(url) as session:
        begun = time.perf_counter()
        params = {"direction": direction, "size": total}
        stream = await session.open("memory", params, Lane(lane))
        if direction == "u":
            for _ in range(total // len(block)):
                await stream.write(block)
        while await stream.read():
            pass
        ready(seconds=time.perf_counter() - begun)


def relay(target: str) -> None:
    """The gateway's own relay, as after an upgrade."""
    uvloop.run(_relay(int(target)))


def agent() -> None:
    """The real listener and session server, with a TCP service."""
    uvloop.run(_agent())


def client(url: str, port: str) -> None:
    """A forwarded port over a session."""
    uvloop.run(_client(url, port))


def memory(url: str, direction: str, size: str, lane: str) -> None:
    """A stream from memory to memory, without forwarded ports."""
    uvloop.run(_memory_client(url, direction, size, lane))


if __name__ == "__main__":
    {one.__name__: one for one in (sink, source, ws_source, relay, agent, client, memory)}[
        sys.argv[1]
    ](*sys.argv[2:])
