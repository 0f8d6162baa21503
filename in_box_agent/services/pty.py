"""A terminal without SSH, for browsers.

Parameters: `{"command": ["htop"] or null, "rows": 24, "columns": 80, "term": "xterm-256color"}`;
no command means the login shell. Both directions are frames, because size and exit status belong
between the bytes they belong between:

    byte 0: kind    1..4: length, big-endian    5..: payload
    kind 0  data, both ways
    kind 1  resize, to the box: {"rows": 24, "columns": 80}
    kind 2  exit, from the box, the last one: {"status": 0} or {"signal": "KILL"}
"""

import asyncio
import signal
import struct
from typing import Any

import msgspec

from devbox.edge.links import Stream
from devbox.model.errors import BadInput, Unavailable
from in_box_agent.services.process import Command, Process, Window
from in_box_agent.surroundings import Surroundings

_HEADER = struct.Struct("!BI")
_DATA, _RESIZE, _EXIT = 0, 1, 2
_FRAME_LIMIT = 1 << 20
_HIGH_BYTES = 256 << 10


class PtyParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What runs in which terminal."""

    command: tuple[str, ...] | None = None
    rows: int = 24
    columns: int = 80
    term: str = "xterm-256color"


class _Size(msgspec.Struct, frozen=True):
    rows: int
    columns: int


class _Terminal:
    """Hears of the process, and hands on to the stream."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.size = 0
        self.wake = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.over = False
        self.process: Process | None = None

    def output(self, data: bytes, source: int) -> None:
        del source
        self._put(_DATA, data)
        if self.size > _HIGH_BYTES and self.process is not None:
            self.process.pause(True)

    def ended(self, status: int) -> None:
        word: dict[str, Any] = {"status": status}
        if status < 0:
            word = {"signal": signal.Signals(-status).name.removeprefix("SIG")}
        self._put(_EXIT, msgspec.json.encode(word))
        self.over = True

    def input_full(self, full: bool) -> None:
        if full:
            self.room.clear()
        else:
            self.room.set()

    def _put(self, kind: int, payload: bytes) -> None:
        self.waiting.append(_HEADER.pack(kind, len(payload)) + payload)
        self.size += len(payload)
        self.wake.set()


async def serve_pty(stream: Stream, around: Surroundings) -> None:
    """Run until the process ends or the client goes. Raises BadInput, Unavailable."""
    try:
        params = msgspec.convert(stream.params, PtyParams)
    except msgspec.ValidationError as error:
        raise BadInput(f"the parameters for pty are wrong: {error}") from error
    terminal = _Terminal()
    try:
        process = terminal.process = Process(terminal, _command(params, around))
    except (OSError, ValueError) as error:  # ValueError: a NUL in what the client sent
        raise Unavailable(f"the box cannot start a process: {error}") from error
    incoming = asyncio.gather(_inward(stream, terminal, process))
    try:
        await _outward(stream, terminal, process, incoming)
    finally:
        incoming.cancel()
        process.hang_up()


def _command(params: PtyParams, around: Surroundings) -> Command:
    argv = params.command or around.shell_argv
    env = {**around.env, "TERM": params.term, "SSH_AUTH_SOCK": around.agent_socket}
    return Command(
        program=argv[0] if params.command else around.shell,
        argv=argv,
        env=env,
        directory=around.directory,
        home=around.env["HOME"],
        terminal=_window(_Size(params.rows, params.columns)),
        starter=around.starter,
    )


def _window(size: _Size) -> Window:
    limit = 0xFFFF
    return Window(max(0, min(size.rows, limit)), max(0, min(size.columns, limit)))


async def _outward(
    stream: Stream, terminal: _Terminal, process: Process, incoming: "asyncio.Future[Any]"
) -> None:
    incoming.add_done_callback(lambda _: terminal.wake.set())
    while not (terminal.over and not terminal.waiting):
        await terminal.wake.wait()
        terminal.wake.clear()
        if incoming.done() and not terminal.over:
            incoming.result()
            return
        data, terminal.waiting, terminal.size = b"".join(terminal.waiting), [], 0
        await stream.write(data)
        process.pause(False)
    await stream.end()


async def _inward(stream: Stream, terminal: _Terminal, process: Process) -> None:
    buffer = bytearray()
    while data := await stream.read(_HIGH_BYTES):
        buffer += data
        for kind, payload in _frames(buffer):
            if kind == _DATA:
                process.write(payload)
            elif kind == _RESIZE:
                process.resize(_window(msgspec.json.decode(payload, type=_Size)))
        await terminal.room.wait()


def _frames(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Take whole frames off the front. Raises BadInput for one that is too long."""
    found = []
    while len(buffer) >= _HEADER.size:
        kind, length = _HEADER.unpack_from(buffer)
        if length > _FRAME_LIMIT:
            raise BadInput(f"a frame of {length} bytes is too long for a terminal")
        end = _HEADER.size + length
        if len(buffer) < end:
            break
        found.append((kind, bytes(buffer[_HEADER.size : end])))
        del buffer[:end]
    return found
