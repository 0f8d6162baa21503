"""One socket that begins as HTTP and becomes a websocket of frames. Knows no session.

Both sides use it; the client masks what it sends, as RFC 6455 demands.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from devbox.model.errors import DevboxError
from devbox.wire.blocks import VIEW_FROM
from devbox.wire.errors import LinkBroken
from devbox.wire.frames import MAX_DATA, Frame, Lane, pack_header
from devbox.wire.reader import Control, LinkReader
from devbox.wire.states import LINK, LinkMove, LinkState, Machine
from devbox.wire.websocket import (
    BINARY,
    CLOSE,
    KEY_BYTES,
    PING,
    PONG,
    apply_mask,
)
from devbox.wire.websocket import (
    pack_header as ws,
)

_WATER = {Lane.INTERACTIVE: 64 << 10, Lane.BULK: 1 << 20}
_LINGER_S = 5.0
_NO_KEY = bytes(KEY_BYTES)
_NORMAL_CLOSE = b"\x03\xe8"


class Closed(LinkBroken):
    """The connection ended."""


class Conduit(asyncio.BufferedProtocol):
    """Callbacks are set by `run`; before that, heads and first frames are awaited.

    A client masks. With `private` nobody stands between who could take payloads for HTTP (RFC 6455
    section 10.3): large ones then have the key 0, and are neither masked nor copied.
    """

    def __init__(self, *, client: bool, private: bool = False) -> None:
        self._client = client
        self._plain_from = VIEW_FROM if private else MAX_DATA + 1
        self._reader = LinkReader(masked=not client)
        self._transport: asyncio.Transport | None = None
        self._early: list[Frame] = []
        self._on_frames: Callable[[list[Frame]], None] | None = None
        self._on_writable: Callable[[], None] = _nothing
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self.state = Machine(LINK)
        self.writable = True
        self.bytes_in = 0
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done with the reason when the connection has ended."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket is closed: what was written has left this process, or is lost."""

    @property
    def ends(self) -> tuple[str, str] | None:
        """Local and remote IP address; None for what is not an IP socket."""
        if self._transport is None:
            return None
        local = self._transport.get_extra_info("sockname")
        peer = self._transport.get_extra_info("peername")
        if not isinstance(local, tuple) or not isinstance(peer, tuple):
            return None
        return str(local[0]), str(peer[0])

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected (and TLS is up)."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where the next bytes go."""
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._reader.put(nbytes)
        self.bytes_in += nbytes
        if self.state.state is LinkState.UPGRADING:
            self._bound()
            self._wake()
        else:
            self._read()

    def eof_received(self) -> bool:
        """The peer will send no more; a link is of no use half open."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._lose(str(exc) if exc else "the connection was closed")
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.writable = False

    def resume_writing(self) -> None:
        """It has room again."""
        self.writable = True
        self._on_writable()

    def _bound(self) -> None:
        """While nobody reads heads, let the kernel hold what comes."""
        if len(self._reader.waiting()) >= 128 << 10 and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        """Wait until more bytes or frames came. Raises Closed."""
        if self.lost.done():
            raise Closed(self.lost.result())
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # -- HTTP's side

    async def head(self, limit: int) -> bytes:
        """All up to and with the empty line. Raises LinkBroken over `limit`, Closed at an end."""
        while True:
            waiting = bytes(self._reader.waiting()[: limit + 1])
            end = waiting.find(b"\r\n\r\n")
            if end >= 0:
                self._reader.skip(end + 4)
                return waiting[: end + 4]
            if len(waiting) > limit:
                raise LinkBroken(f"a request's head is over {limit} bytes")
            await self._more()

    async def exactly(self, count: int) -> bytes:
        """`count` bytes; the caller bounds it well under the buffer's size."""
        while len(self._reader.waiting()) < count:
            await self._more()
        data = bytes(self._reader.waiting()[:count])
        self._reader.skip(count)
        return data

    async def rest(self, limit: int) -> bytes:
        """All until the peer closes, at most `limit` bytes."""
        with contextlib.suppress(Closed):
            while len(self._reader.waiting()) < limit:
                await self._more()
        return bytes(self._reader.waiting()[:limit])

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if self._transport is not None and not self.lost.done():
            self._transport.write(data)

    # -- the frames' side

    def upgraded(self) -> None:
        """From here on bytes are websocket messages."""
        self.state.move(LinkMove.UPGRADED)
        if self._paused and self._transport is not None:
            self._transport.resume_reading()
        self._read()

    async def first(self) -> Frame:
        """The first frame. Raises Closed."""
        while not self._early:
            await self._more()
        return self._early.pop(0)

    def tune(self, lane: Lane) -> None:
        """Keep little of an interactive lane in buffers, where nothing can overtake it."""
        if self._transport is None:
            return
        self._transport.set_write_buffer_limits(high=_WATER[lane])
        sock = self._transport.get_extra_info("socket")
        if sock is None or sock.family == getattr(socket, "AF_UNIX", None):
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if lane is Lane.INTERACTIVE and hasattr(socket, "TCP_NOTSENT_LOWAT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _WATER[lane])

    def run(
        self, on_frames: Callable[[list[Frame]], None], on_writable: Callable[[], None]
    ) -> None:
        """The greeting is over: frames go to `on_frames`, those that came early first."""
        self.state.move(LinkMove.GREETED)
        self._on_frames, self._on_writable = on_frames, on_writable
        early, self._early = self._early, []
        if early:
            on_frames(early)

    def send(self, frame: Frame) -> None:
        """One frame as one websocket message. The caller looks at `writable`."""
        transport = self._transport
        if transport is None or self.lost.done():
            return
        header = pack_header(frame)
        length = len(header) + len(frame.payload)
        if not self._client:
            transport.writelines((ws(BINARY, length, b"") + header, frame.payload))
            return
        if len(frame.payload) >= self._plain_from:
            transport.writelines((ws(BINARY, length, _NO_KEY) + header, frame.payload))
            return
        key = os.urandom(KEY_BYTES)
        head = ws(BINARY, length, key) + apply_mask(header, key)
        transport.writelines((head, apply_mask(frame.payload, key)))

    def close(self, move: LinkMove) -> None:
        """Say so in websocket's words and close once all is written."""
        if self.lost.done() or self._transport is None:
            return
        self._control(CLOSE, _NORMAL_CLOSE)
        self._close_soon()
        self._lose(move.value, move)

    def finish(self) -> None:
        """Close once all is written, without a word of websocket's."""
        if not self.lost.done():
            self._close_soon()
            self._lose("closed")

    def _close_soon(self) -> None:
        """Let what is written go out, but not for ever."""
        if self._transport is not None:
            self._transport.close()
            asyncio.get_running_loop().call_later(_LINGER_S, self._transport.abort)

    def abort(self, reason: str, move: LinkMove = LinkMove.LOST) -> None:
        """Drop the connection at once. One that is closing may go on to."""
        if self.lost.done():
            return
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason, move)

    def _lose(self, reason: str, move: LinkMove = LinkMove.LOST) -> None:
        if self.lost.done():
            return
        self.state.move(move)
        self.lost.set_result(reason)
        self.writable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Closed(reason))

    def _control(self, opcode: int, payload: bytes) -> None:
        key = os.urandom(KEY_BYTES) if self._client else b""
        body = apply_mask(payload, key) if key else payload
        self.write(ws(opcode, len(payload), key) + body)

    def _read(self) -> None:
        try:
            found = self._reader.frames()
        except (LinkBroken, DevboxError) as error:
            self.abort(str(error))
            return
        frames = [one for one in found if isinstance(one, Frame)]
        if frames and not self.lost.done():
            self._give(frames)
        if len(frames) != len(found):
            self._take_controls(found)

    def _give(self, frames: list[Frame]) -> None:
        if self._on_frames is not None:
            self._on_frames(frames)
        else:
            self._early += frames
            self._wake()

    def _take_controls(self, found: list[Frame | Control]) -> None:
        for one in found:
            if isinstance(one, Control) and one.opcode == PING:
                self._control(PONG, one.payload)
            elif isinstance(one, Control) and one.opcode == CLOSE:
                self.close(LinkMove.LOST)


def _nothing() -> None:
    return None
