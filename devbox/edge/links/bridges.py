"""A TCP or unix socket joined to a stream at full speed: no StreamReader, one copy a direction.

Both directions have ends of their own, and each waits for its slower side.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

from devbox.edge.links.connecting import connect_any
from devbox.edge.links.streams import Stream
from devbox.edge.pacing import unpace_listeners
from devbox.edge.sockets import bind_private
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Unavailable
from devbox.wire.blocks import Inlet

_PENDING_HIGH = 1 << 20
_WATER = 1 << 20


class Bridge(asyncio.BufferedProtocol):
    """The socket's side. It reads nothing until `run` gives it a stream."""

    def __init__(self, accepted: "Callable[[Bridge], None] | None" = None) -> None:
        self._accepted = accepted
        self._transport: asyncio.Transport | None = None
        self._stream: Stream | None = None
        self._may_write = True
        self._reading = True
        self._inlet = Inlet()
        self._early = b""
        """What a loop delivers although reading was paused before it began."""
        self._socket_ended = False
        self._stream_ended = False
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # -- the socket's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; wait for a stream before reading."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WATER)
        self._reading = False
        self._transport.pause_reading()
        if self._accepted is not None:
            self._accepted(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where the next bytes go."""
        return self._inlet.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes for the stream."""
        data = self._inlet.take(nbytes)
        if self._stream is None:
            self._early += data
            self._reading = True
            self._read_socket(on=False)
            return
        try:
            self._stream.write_now(data)
        except DevboxError as error:
            self._finish(error)
            return
        if self._stream.pending_bytes > _PENDING_HIGH:
            self._read_socket(on=False)

    def eof_received(self) -> bool:
        """The socket's peer will send no more; it may still read."""
        self._socket_ended = True
        if self._stream is not None:
            self._stream.end_now()
            self._check_both()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self._stream is not None and not self._done.done():
            self._stream.close_now(Unavailable(f"the socket broke: {exc or 'closed'}"))
        self._finish(None)

    def pause_writing(self) -> None:
        """The socket's peer is slower than the stream."""
        self._may_write = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._may_write = True
        self._step()

    # -- the stream's side

    async def run(self, stream: Stream) -> None:
        """Join until both directions ended. Raises the DevboxError that the stream ended with."""
        self._stream, self._inlet = stream, stream.inlet
        stream.watch(self._step)
        if self._early:
            stream.write_now(self._early)
        if self._socket_ended:
            stream.end_now()
        self._step()
        try:
            await self._done
        except BaseException:
            self.refuse()
            raise
        finally:
            stream.watch(None)
        if self._transport is not None:
            self._transport.close()

    def refuse(self) -> None:
        """Reset the connection: its peer must not take this for an end in order."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _step(self) -> None:
        """Move what can be moved."""
        stream, transport = self._stream, self._transport
        if stream is None or transport is None or self._done.done():
            return
        self._read_socket(on=stream.pending_bytes <= _PENDING_HIGH)
        try:
            self._write_socket(stream, transport)
        except DevboxError as error:
            self._finish(error)

    def _write_socket(self, stream: Stream, transport: asyncio.Transport) -> None:
        while self._may_write and not self._stream_ended:
            data = stream.view_now()
            if data is None:
                return
            if data:
                transport.write(data)
                continue
            self._stream_ended = True
            with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
                transport.write_eof()
            self._check_both()

    def _read_socket(self, *, on: bool) -> None:
        assert self._transport is not None
        if on == self._reading or self._socket_ended or self._transport.is_closing():
            return
        self._reading = on
        if on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _check_both(self) -> None:
        if self._socket_ended and self._stream_ended:
            self._finish(None)

    def _finish(self, error: DevboxError | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


async def bridge_tcp(stream: Stream, host: str, port: int) -> None:
    """Connect and join. Raises Unavailable when nothing listens there."""
    try:
        sock = await connect_any(host, port)
        _, bridge = await asyncio.get_running_loop().create_connection(Bridge, sock=sock)
    except OSError as error:
        raise _nobody(f"{host}:{port}", error) from error
    await bridge.run(stream)


async def bridge_unix(stream: Stream, path: str) -> None:
    """As `bridge_tcp`, for a unix socket."""
    try:
        _, bridge = await asyncio.get_running_loop().create_unix_connection(Bridge, path)
    except OSError as error:
        raise _nobody(path, error) from error
    await bridge.run(stream)


async def bridge_socket(stream: Stream, sock: socket.socket) -> None:
    """As `bridge_tcp`, for one half of a pair of unix sockets; it is the bridge's from now on."""
    loop = asyncio.get_running_loop()
    _, bridge = await loop.create_unix_connection(Bridge, sock=sock)
    await bridge.run(stream)


def _nobody(where: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"nothing answers at {where}: {error.strerror or error}",
        "Start the program that should listen there, then try again.",
    )


class BridgeServer:
    """Accepts connections and joins each to a stream that `open_stream` makes.

    `failed` is told why a connection was refused or broke.
    """

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[Stream]],
        failed: Callable[[DevboxError], None] = lambda error: None,  # noqa: ARG005
    ) -> None:
        self._open_stream = open_stream
        self._failed = failed
        self._tasks = Tasks("bridges")
        self._server: asyncio.Server | None = None
        self._path = ""

    async def start_tcp(self, host: str, port: int) -> int:
        """Listen; answers the port. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Bridge(self._accept), host, port)
        unpace_listeners(self._server.sockets, host)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def start_unix(self, path: str) -> None:
        """Listen on a unix socket of this user's alone. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        sock = bind_private(path)
        self._path = path
        self._server = await loop.create_unix_server(lambda: Bridge(self._accept), sock=sock)

    def _accept(self, bridge: Bridge) -> None:
        self._tasks.start(self._join(bridge), "bridge")

    async def _join(self, bridge: Bridge) -> None:
        try:
            stream = await self._open_stream()
        except DevboxError as error:
            self._failed(error)
            bridge.refuse()
            return
        try:
            await bridge.run(stream)
        except DevboxError as error:
            self._failed(error)
        finally:
            await stream.close()

    async def close(self) -> None:
        """Listen no more and drop what is joined."""
        if self._server is not None:
            self._server.close()
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        await self._tasks.close()
