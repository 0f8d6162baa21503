"""The tar stream: headers and file contents laid into the pipeline's buffers without copies."""

import os
from typing import Protocol

from node_agent.saver.headers import END, padding
from node_agent.saver.pipeline import BUFFER_BYTES

_ZEROS = bytes(64 << 10)


class Buffers(Protocol):
    """Where a stream's buffers come from and go to."""

    def take(self) -> bytearray:
        """An empty buffer of BUFFER_BYTES."""

    def give(self, buffer: bytearray, used: int) -> None:
        """The first `used` bytes are written."""

    def finish(self) -> None:
        """Nothing follows."""


class TarStream:
    """Writes one layer's tar. `read_bytes` may be read by other threads."""

    def __init__(self, pipeline: Buffers) -> None:
        self._pipeline = pipeline
        self._buffer = pipeline.take()
        self._view = memoryview(self._buffer)
        self._at = 0
        self.read_bytes = 0
        self.entries = 0

    def header(self, blocks: bytes) -> None:
        """Begin an entry."""
        self.entries += 1
        self.raw(blocks)

    def raw(self, data: bytes | memoryview) -> None:
        """Write bytes as they are."""
        end = self._at + len(data)
        if end <= BUFFER_BYTES:
            self._buffer[self._at : end] = data
            self._at = end
            return
        rest = memoryview(data)
        while rest:
            if self._at == BUFFER_BYTES:
                self._flush()
            size = min(len(rest), BUFFER_BYTES - self._at)
            self._view[self._at : self._at + size] = rest[:size]
            self._at += size
            rest = rest[size:]

    def content(self, fd: int, size: int) -> bool:
        """Write exactly `size` bytes of a file from where it stands, then padding.

        False when the file had fewer; zeros stand in for the rest.
        """
        left = self._read(fd, size)
        self.zeros(left + padding(size))
        return not left

    def piece(self, fd: int, start: int, size: int) -> bool:
        """Write `size` bytes of a file from `start`, without padding. As `content`."""
        os.lseek(fd, start, os.SEEK_SET)
        left = self._read(fd, size)
        self.zeros(left)
        return not left

    def zeros(self, count: int) -> None:
        """Write zeros."""
        while count:
            if self._at == BUFFER_BYTES:
                self._flush()
            size = min(count, BUFFER_BYTES - self._at, len(_ZEROS))
            self._view[self._at : self._at + size] = _ZEROS[:size]
            self._at += size
            count -= size

    def close(self) -> None:
        """End the tar and wait for the pipeline."""
        self.raw(END)
        self._flush()
        self._pipeline.finish()

    def flush(self) -> None:
        """Pass on what is written so far."""
        self._flush()

    def _read(self, fd: int, size: int) -> int:
        """Returns how many bytes were missing."""
        left = size
        while left:
            if self._at == BUFFER_BYTES:
                self._flush()
            end = min(self._at + left, BUFFER_BYTES)
            got = os.readv(fd, (self._view[self._at : end],))
            if not got:
                break
            self._at += got
            left -= got
        self.read_bytes += size - left
        return left

    def _flush(self) -> None:
        if self._at:
            self._view.release()
            self._pipeline.give(self._buffer, self._at)
            self._buffer = self._pipeline.take()
            self._view = memoryview(self._buffer)
            self._at = 0
