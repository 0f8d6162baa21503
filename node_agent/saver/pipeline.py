"""Threads that turn a tar stream into a compressed, named layer while it is read.

    reader -> [buffers] -> pack: diff id, zstd or gzip -> [chunks] -> name: digest -> deliver

Buffers are few and used again, so memory is bounded whatever a layer's size. Hashing and
compression leave Python's lock, so all stages run at once. Knows nothing of files and registries.
"""

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

import zstandard
from isal import isal_zlib

from devbox.model.saves import Compression

BUFFER_BYTES = 2 << 20
_BUFFERS = 8
_CHUNKS = 8
_LEVEL = 1
_GZIP_WINDOW = 31
"""The largest window, and gzip's own header, which names no file and no time (RFC 1952)."""

_T = TypeVar("_T")
Deliver = Callable[[bytes], None]
"""Takes a compressed chunk; may block. Called on one thread only."""


class Compressor(Protocol):
    """Packs a stream."""

    def compress(self, data: memoryview, /) -> bytes:
        """What is packed so far, maybe nothing."""

    def flush(self) -> bytes:
        """The rest."""


class Stopped(Exception):
    """A later stage failed or the work was given up."""


class Pipeline:
    """`take` an empty buffer, `give` it filled, and `finish`; or `stop`."""

    def __init__(self, deliver: Deliver, compression: Compression) -> None:
        self._deliver = deliver
        self._compression = compression
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(bytearray(BUFFER_BYTES))
        self._filled: queue.Queue[tuple[bytearray, int] | None] = queue.Queue(_BUFFERS)
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_CHUNKS)
        self._diff = hashlib.sha256()
        self._digest = hashlib.sha256()
        self.raw_bytes = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(stage,), name=name, daemon=True)
            for name, stage in (("pack", self._pack), ("name", self._name))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def diff_id(self) -> str:
        """Of the uncompressed layer, when finished."""
        return f"sha256:{self._diff.hexdigest()}"

    @property
    def digest(self) -> str:
        """Of the compressed layer, when finished."""
        return f"sha256:{self._digest.hexdigest()}"

    def take(self) -> bytearray:
        """An empty buffer. Raises Stopped."""
        while True:
            self._check()
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=0.5)

    def give(self, buffer: bytearray, used: int) -> None:
        """Pass on the first `used` bytes of a buffer; it is the pipeline's again."""
        self._check()
        self.raw_bytes += used
        _put(self._filled, (buffer, used), self._stop)

    def finish(self) -> None:
        """Wait until the last chunk is delivered. Raises Stopped."""
        _put(self._filled, None, self._stop)
        for thread in self._threads:
            thread.join()
        self._check()

    def stop(self) -> None:
        """Give the work up and wait for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        # Not when somebody collects what refers to itself: a save may have several pipelines.
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait()

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped from self.error

    def _run(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Stopped:
            return
        except BaseException as error:  # handed to whoever waits
            self.error = self.error or error
            self._stop.set()

    def _pack(self) -> None:
        compress = _compressor(self._compression)
        while (item := _next(self._filled, self._stop)) is not None:
            buffer, used = item
            with memoryview(buffer)[:used] as view:
                self._diff.update(view)
                chunk = compress.compress(view)
            self._free.put(buffer)
            if chunk:
                _put(self._chunks, chunk, self._stop)
        _put(self._chunks, compress.flush(), self._stop)
        _put(self._chunks, None, self._stop)

    def _name(self) -> None:
        while (chunk := _next(self._chunks, self._stop)) is not None:
            self._digest.update(chunk)
            self._deliver(chunk)


def _compressor(compression: Compression) -> Compressor:
    if compression is Compression.GZIP:
        return isal_zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
    return zstandard.ZstdCompressor(level=_LEVEL).compressobj()


def _next(source: "queue.Queue[_T]", stop: threading.Event) -> _T:
    while not stop.is_set():
        with contextlib.suppress(queue.Empty):
            return source.get(timeout=0.5)
    raise Stopped


def _put(target: "queue.Queue[_T]", item: _T, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(queue.Full):
            target.put(item, timeout=0.5)
            return
    raise Stopped
