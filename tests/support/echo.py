"""Servers that answer in capitals, at both ends of a forwarding, and how to ask them."""

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from tests.support.box import Box, wait_for
from tests.support.ssh import Door

Place = str | int
"""The path of a unix socket, or a port of the loopback address."""

SERVER = """
import socket, sys, threading
where = sys.argv[1]
unix = where.startswith('/')
server = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
if unix:
    server.bind(where)
else:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('127.0.0.1', int(where)))
server.listen()
print('ready', flush=True)
def serve(end):
    while data := end.recv(65536):
        end.sendall(data.upper())
    end.close()
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""
_ASK = """
import contextlib, socket, sys, time
for _ in range(400):
    with contextlib.suppress(OSError):
        end = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
        break
    time.sleep(0.02)
question = sys.stdin.buffer.read()
end.sendall(question)
half_close = sys.argv[2] == 'True'
if half_close:
    end.shutdown(socket.SHUT_WR)
sys.stdout.buffer.write(end.makefile('rb').read(-1 if half_close else len(question)))
"""
_QUESTION = b"hello" * 10000
EXPECTED = b"HELLO" * 10000
_PATIENCE_S = 10
_CHUNK = 1 << 16


@contextlib.contextmanager
def echo_in(door: Door, where: Place) -> Iterator[None]:
    """A server in the box."""
    clean = f"rm -f {where}; " if isinstance(where, str) else ""
    command = door.ssh("box", f'{clean}exec python3 -c "$(cat)" {where}')
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(SERVER.encode())
        server.stdin.close()
        try:
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None], path: str = "") -> Iterator[int]:
    """A listener on this side, at `path` or a port; each connection has a thread."""
    server = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    server.bind(path or ("127.0.0.1", 0))
    server.listen()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = server.accept()
                threading.Thread(target=serve, args=[end], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield 0 if path else int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(_PATIENCE_S)


def answer(end: socket.socket) -> None:
    """Echo in capitals, to the end."""
    with end, contextlib.suppress(OSError):
        while data := end.recv(_CHUNK):
            end.sendall(data.upper())


class Duplex(Protocol):
    """A socket, or what behaves like one."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


def join(near: Duplex, far: Duplex) -> None:
    """Carry both directions, each to its own end."""
    back = threading.Thread(target=_carry, args=(far, near), daemon=True)
    back.start()
    _carry(near, far)
    back.join()
    near.close()
    far.close()


def _carry(source: Duplex, sink: Duplex) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError, EOFError):
        sink.shutdown(socket.SHUT_WR)


def connected(where: Place) -> socket.socket:
    """Connect when somebody listens."""

    def attempt() -> socket.socket | None:
        with contextlib.suppress(OSError):
            if isinstance(where, int):
                return socket.create_connection(("127.0.0.1", where))
            end = socket.socket(socket.AF_UNIX)
            end.connect(where)
            return end
        return None

    return wait_for(attempt, f"a listener at {where}")


def ask(end: socket.socket, *, half_close: bool = True) -> bytes:
    """Send, half close, read to the end; or read as much as was sent."""
    with end, end.makefile("rb") as answers:
        end.settimeout(_PATIENCE_S)
        end.sendall(_QUESTION)
        if half_close:
            end.shutdown(socket.SHUT_WR)
        return answers.read(-1 if half_close else len(_QUESTION))


def ask_in(box: Box, port: int, *, half_close: bool = True) -> bytes:
    """The same from the box's network, when somebody listens there."""
    program = ["/usr/bin/python3", "-I", "-S", "-c", _ASK]
    command = box.inside(*program, str(port), str(half_close))
    return subprocess.run(
        command, input=_QUESTION, stdout=subprocess.PIPE, check=True, timeout=_PATIENCE_S
    ).stdout


def through_socks(port: int, there: int) -> socket.socket:
    """Connect to a port of the far side by SOCKS 5 (RFC 1928)."""
    end = connected(port)
    end.settimeout(_PATIENCE_S)
    end.sendall(b"\x05\x01\x00")
    assert end.recv(2) == b"\x05\x00"
    end.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + there.to_bytes(2, "big"))
    assert end.recv(10)[:2] == b"\x05\x00"
    return end
