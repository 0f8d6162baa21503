"""Merges layers that this project's saves made into one, where their upper is gone.

The invariant: applying the merged layer to what lies below gives what applying all of them, oldest
first, gives. The newest entry of a path wins; deletions and opaque directories are kept, since what
they hide may lie in the runtime. Layers are read twice, to decide and to copy, and never held.
"""

import asyncio
import contextlib
import io
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol, cast

import msgspec
import zstandard

from devbox.edge.registry import Descriptor, Registry
from devbox.model.errors import Internal
from node_agent.saver import headers
from node_agent.saver.index import SavedLayer
from node_agent.saver.layer import Target, Told, push_layer
from node_agent.saver.stream import TarStream

_BLOCK = headers.BLOCK
_OPAQUE = b".wh..wh..opq"
_WHITEOUT = b".wh."
_COPY_BYTES = 1 << 20
_PIECE_S = 300.0


class CannotMerge(Exception):
    """The layers hold something that needs more than copying entries; they stay as they are."""


class Entry(msgspec.Struct, frozen=True):
    """One entry of a layer: its raw headers, and the size of what follows, padded."""

    raw: bytes
    path: bytes
    kind: bytes
    size: int
    link: bytes = b""
    """What a hard link is another name of."""


class Source(Protocol):
    """What gives bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def entries(source: Source) -> Iterator[Entry]:
    """The entries of a layer that this package wrote; the caller reads or skips each one's content.

    Raises CannotMerge for forms that it never writes.
    """
    while True:
        block = _exactly(source, _BLOCK)
        if block == bytes(_BLOCK):
            return
        raw, records = block, {}
        if block[156:157] == b"x":
            size = int(block[124:135], 8)
            body = _exactly(source, size + headers.padding(size))
            records = pax_records(body[:size])
            block = _exactly(source, _BLOCK)
            raw += body + block
        kind = block[156:157]
        if kind not in b"0123456":
            raise CannotMerge(f"an entry of type {kind!r}")
        name = block[:100].rstrip(b"\0")
        path = records.get(b"GNU.sparse.name") or records.get(b"path") or name
        size = int(records.get(b"size") or int(block[124:135], 8))
        link = records.get(b"linkpath") or block[157:257].rstrip(b"\0")
        yield Entry(raw, path.rstrip(b"/"), kind, size + headers.padding(size), link)


def pax_records(body: bytes) -> dict[bytes, bytes]:
    """Of the body of an extended header (pax)."""
    found = {}
    at = 0
    while at < len(body):
        length = int(body[at : body.index(b" ", at)])
        record = body[at : at + length]
        key, _, value = record[record.index(b" ") + 1 : -1].partition(b"=")
        found[key] = value
        at += length
    return found


def _exactly(source: Source, size: int) -> bytes:
    data = source.read(size)
    while len(data) < size:
        more = source.read(size - len(data))
        if not more:
            raise Internal("a layer ends in the middle of an entry")
        data += more
    return data


@dataclass
class Above:
    """What newer layers make of older ones."""

    seen: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    """Deleted: hides the path and all below."""
    closed: set[bytes] = field(default_factory=set)
    """Opaque, or no directory: hides all below."""

    def hides(self, entry: Entry) -> bool:
        """Whether this entry of the next older layer has no effect."""
        parent, name = _split(entry.path)
        if name == _OPAQUE:
            return parent in self.gone or parent in self.closed or self._below_hidden(parent)
        path = _target(entry.path)
        return path in self.seen or path in self.gone or self._below_hidden(path)

    def _below_hidden(self, path: bytes) -> bool:
        while path:
            path = _split(path)[0]
            if path in self.gone or path in self.closed:
                return True
        return False

    def add(self, layer: Sequence[Entry]) -> None:
        """These entries are above all that follow."""
        for entry in layer:
            parent, name = _split(entry.path)
            if name == _OPAQUE:
                self.closed.add(parent)
            elif name.startswith(_WHITEOUT):
                self.gone.add(_target(entry.path))
            else:
                self.seen.add(entry.path)
                if entry.kind != headers.DIRECTORY:
                    self.closed.add(entry.path)


def _split(path: bytes) -> tuple[bytes, bytes]:
    parent, _, name = path.rpartition(b"/")
    return parent, name


def _target(path: bytes) -> bytes:
    parent, name = _split(path)
    if not name.startswith(_WHITEOUT):
        return path
    return (parent + b"/" if parent else b"") + name.removeprefix(_WHITEOUT)


class _Blob:
    """A blob of the registry, read by a thread."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._pieces = pieces
        self._loop = loop
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        if not self._rest:
            asked = asyncio.run_coroutine_threadsafe(anext(self._pieces, b""), self._loop)
            self._rest = asked.result(_PIECE_S)
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._pieces.aclose(), self._loop).result(_PIECE_S)


@contextlib.contextmanager
def open_layer(
    registry: Registry, repository: str, layer: Descriptor, loop: asyncio.AbstractEventLoop
) -> Iterator[Source]:
    """A layer's tar stream, for a thread; `loop` runs elsewhere and fetches."""
    blob = _Blob(registry.stream_blob(repository, layer.digest), loop)
    try:
        if layer.media_type.endswith("zstd"):
            readable = cast("IO[bytes]", blob)
            yield zstandard.ZstdDecompressor().stream_reader(readable, read_across_frames=True)
        elif layer.media_type.endswith("gzip"):
            yield _Inflate(blob)
        else:
            yield blob
    finally:
        blob.close()


class Merge:
    """Merges layers of one repository, given oldest first."""

    def __init__(self, target: Target, layers: Sequence[Descriptor]) -> None:
        self._target = target
        self._registry = target.registry
        self._repository = target.repository
        self._layers = layers
        self._kept: list[list[bool]] = []

    async def run(self, told: Told) -> SavedLayer | None:
        """Push the merged layer. Raises DevboxError."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._decide, loop)
        return await push_layer(self._target, lambda stream: self._copy(stream, loop), told)

    def _decide(self, loop: asyncio.AbstractEventLoop) -> None:
        above = Above()
        for layer in reversed(self._layers):
            found: list[Entry] = []
            with open_layer(self._registry, self._repository, layer, loop) as source:
                for entry in entries(source):
                    _skip(source, entry.size)
                    found.append(msgspec.structs.replace(entry, raw=b""))
            kept = [not above.hides(entry) for entry in found]
            _check_links(found, kept)
            self._kept.append(kept)
            above.add(found)
        self._kept.reverse()

    def _copy(self, stream: TarStream, loop: asyncio.AbstractEventLoop) -> None:
        for layer, kept in zip(self._layers, self._kept, strict=True):
            with open_layer(self._registry, self._repository, layer, loop) as source:
                for entry, keep in zip(entries(source), kept, strict=True):
                    if not keep:
                        _skip(source, entry.size)
                        continue
                    stream.header(entry.raw)
                    for piece in pieces(source, entry.size):
                        stream.raw(piece)
                        stream.read_bytes += len(piece)


def _check_links(found: Sequence[Entry], kept: Sequence[bool]) -> None:
    """A link is kept with what it names, which lies in the same layer."""
    there = {entry.path for entry, keep in zip(found, kept, strict=True) if keep}
    for entry, keep in zip(found, kept, strict=True):
        if keep and entry.kind == headers.LINK and entry.link not in there:
            raise CannotMerge(f"a link to {entry.link!r}, which is not kept")


class _Inflate(io.RawIOBase):
    """A gzip stream, read."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._inflate = zlib.decompressobj(31)

    def read(self, size: int = -1, /) -> bytes:
        data = self._inflate.decompress(self._inflate.unconsumed_tail, max(size, 0))
        while not data and (more := self._source.read(_COPY_BYTES)):
            data = self._inflate.decompress(more, max(size, 0))
        return data


def pieces(source: Source, size: int) -> Iterator[bytes]:
    """The next `size` bytes, a few at a time. Raises Internal when they are not there."""
    while size:
        piece = source.read(min(size, _COPY_BYTES))
        if not piece:
            raise Internal("a layer ends in the middle of a file")
        size -= len(piece)
        yield piece


def _skip(source: Source, size: int) -> None:
    for _ in pieces(source, size):
        pass
