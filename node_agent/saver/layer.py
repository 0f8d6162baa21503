"""One layer, from upper to registry: walk and compression in threads, the push on the loop."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import LAYER_GZIP, LAYER_ZSTD
from devbox.model.saves import Compression
from node_agent.saver.index import SavedLayer
from node_agent.saver.pipeline import Pipeline, Stopped
from node_agent.saver.stream import TarStream

if TYPE_CHECKING:
    from devbox.edge.registry.upload import Upload

_WAITING_CHUNKS = 8
_TICK_S = 0.1
MEDIA_TYPES = {Compression.ZSTD: LAYER_ZSTD, Compression.GZIP: LAYER_GZIP}
Told = Callable[[int], Awaitable[None]]
"""Takes the bytes of files read so far."""


@dataclass(frozen=True)
class Target:
    """Where layers go."""

    registry: Registry
    repository: str
    compression: Compression = Compression.ZSTD


Fill = Callable[[TarStream], None]
"""Writes a layer's entries; called in a thread."""


class _Chunks:
    """A bounded way from the pipeline's last thread to the event loop. None ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Semaphore(_WAITING_CHUNKS)
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = threading.Event()

    def deliver(self, chunk: bytes) -> None:
        """Called by a thread; blocks while there is no room."""
        while not self._room.acquire(timeout=0.5):
            if self._closed.is_set():
                raise Stopped
        self._loop.call_soon_threadsafe(self._queue.put_nowait, chunk)

    def end(self) -> None:
        """Called by a thread."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    def close(self) -> None:
        """Nobody takes chunks any more."""
        self._closed.set()

    async def take(self, idle: Callable[[], Awaitable[None]]) -> bytes | None:
        """The next chunk. Calls `idle` while there is none."""
        while True:
            try:
                async with asyncio.timeout(_TICK_S):
                    chunk = await self._queue.get()
            except TimeoutError:
                await idle()
                continue
            self._room.release()
            return chunk


class _Reading:
    """The thread's side: fills the pipeline."""

    def __init__(self, fill: Fill, chunks: _Chunks, compression: Compression) -> None:
        self._fill = fill
        self._chunks = chunks
        self.pipeline = Pipeline(chunks.deliver, compression)
        self.stream = TarStream(self.pipeline)

    def run(self) -> None:
        """Read it all, or until the pipeline is stopped."""
        try:
            self._fill(self.stream)
            if self.stream.entries:
                self.stream.close()
        finally:
            self._chunks.end()

    async def stop(self) -> None:
        """End all threads, whatever they do."""
        self._chunks.close()
        await asyncio.to_thread(self.pipeline.stop)


async def push_layer(target: Target, fill: Fill, told: Told) -> SavedLayer | None:
    """Push a layer while it is written. None when there is nothing in it.

    Raises DevboxError, and what `fill` raises.
    """
    loop = asyncio.get_running_loop()
    chunks = _Chunks(loop)
    reading = _Reading(fill, chunks, target.compression)
    thread = loop.run_in_executor(None, reading.run)
    try:
        return await _push(target, reading, chunks, thread, told)
    finally:
        await reading.stop()
        with contextlib.suppress(BaseException):
            await thread


async def _push(
    target: Target,
    reading: _Reading,
    chunks: _Chunks,
    thread: "asyncio.Future[None]",
    told: Told,
) -> SavedLayer | None:
    async def idle() -> None:
        await told(reading.stream.read_bytes)

    async with contextlib.AsyncExitStack() as stack:
        upload: Upload | None = None
        while (chunk := await chunks.take(idle)) is not None:
            if upload is None:
                upload = await stack.enter_async_context(target.registry.upload(target.repository))
            await upload.write(chunk)
            await idle()
        await thread
        if upload is None:
            return None
        media_type = MEDIA_TYPES[target.compression]
        descriptor = await upload.finish(reading.pipeline.digest, media_type)
    return SavedLayer(
        descriptor=descriptor,
        diff_id=reading.pipeline.diff_id,
        file_bytes=reading.stream.read_bytes,
    )
