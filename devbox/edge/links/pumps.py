"""Streams joined to what else there is: byte sources and sinks, sockets."""

import asyncio
import contextlib
from typing import Protocol

from devbox.edge.links.streams import READ_BYTES, Stream
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError


class Source(Protocol):
    """asyncio.StreamReader, or anything that reads like it."""

    async def read(self, limit: int, /) -> bytes:
        """b"" at the end."""
        ...


class Sink(Protocol):
    """What takes bytes and an end."""

    async def write(self, data: bytes, /) -> None:
        """Waits while too much is under way."""
        ...

    async def end(self) -> None:
        """No more will come."""
        ...


class WriterSink:
    """An asyncio.StreamWriter as a sink; its end is a half close."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Write and drain."""
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        """Half close where the transport can, else close."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            else:
                self._writer.close()


async def copy(source: Source, sink: Sink) -> int:
    """Copy until the source's end, then end the sink; answers how many bytes."""
    total = 0
    while data := await source.read(READ_BYTES):
        total += len(data)
        await sink.write(data)
    await sink.end()
    return total


async def pump(stream: Stream, source: Source, sink: Sink) -> None:
    """Both directions, each with its own end, until both ended.

    Raises the DevboxError that the stream ended with. When the local side breaks (OSError), the
    stream is closed.
    """
    async with Tasks("pump") as tasks:
        left = {
            tasks.start(_outcome(source, stream), "out"),
            tasks.start(_outcome(stream, sink), "in"),
        }
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for error in filter(None, (one.result() for one in done)):
                await stream.close("the local side broke" if isinstance(error, OSError) else "")
                if isinstance(error, DevboxError):
                    raise error
                return


async def _outcome(source: Source, sink: Sink) -> Exception | None:
    """An end that came as an error is nothing to log: it is an outcome."""
    try:
        await copy(source, sink)
    except (OSError, DevboxError) as error:
        return error
    return None


async def pump_socket(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """As `pump`, for a socket, which is closed in the end."""
    try:
        await pump(stream, reader, WriterSink(writer))
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
