"""The index of the last save: what the image of that save holds, as far as this upper made it.

One file per upper, replaced atomically after the push. It is a cache: lost or damaged, the next
save is a full layer. A tree of a million files must fit into memory, so an entry is two short byte
strings, and the file is read and written in pieces.
"""

import contextlib
import hashlib
import stat
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from devbox.edge.durable import replace_file
from devbox.edge.registry.documents import Descriptor

_MAGIC = b"devbox-index-2\n"
_COUNT = struct.Struct(">I")
_A_PIECE = 8192
"""Entries."""
_MOST_BYTES = 1 << 28
"""Of one piece of the file."""

Facts = bytes
"""Inode, change time and modification time in ns, size, mode. Equal facts mean an equal file."""

_FACTS = struct.Struct("=5Q")
_SIZE_AND_MODE = struct.Struct("=24xQQ")
_CHANGED = struct.Struct("=8xq24x")
_64_BITS = (1 << 64) - 1

WHITEOUT: Facts = bytes(_FACTS.size)
"""All whiteouts of an upper are one inode with many names: only their being there counts."""

UNSURE: Facts = _FACTS.pack(_64_BITS, 0, 0, 0, 0)
"""Saved, but it changed meanwhile: equal to nothing, so the next save takes it again."""


def pack(inode: int, changed_ns: int, modified_ns: int, size: int, mode: int) -> Facts:
    """Facts of numbers that may be of any size."""
    try:
        return _FACTS.pack(inode, changed_ns, modified_ns, size, mode)
    except struct.error:
        numbers = (inode, changed_ns, modified_ns, size, mode)
        return _FACTS.pack(*(number & _64_BITS for number in numbers))


def inode_of(facts: Facts) -> bytes:
    """What names of one file have in common."""
    return facts[:8]


def size_of(facts: Facts) -> int:
    """Bytes of a plain file; 0 of all else."""
    size: int
    size, mode = _SIZE_AND_MODE.unpack(facts)
    return size if stat.S_ISREG(mode) else 0


def is_directory(facts: Facts) -> bool:
    """Whether it is."""
    return stat.S_ISDIR(_SIZE_AND_MODE.unpack(facts)[1])


def is_file(facts: Facts) -> bool:
    """Whether it is a plain one."""
    return stat.S_ISREG(_SIZE_AND_MODE.unpack(facts)[1])


def changed_ns(facts: Facts) -> int:
    """When it changed last."""
    found: int = _CHANGED.unpack(facts)[0]
    return found


class SavedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer of the last save's image."""

    descriptor: Descriptor
    diff_id: str
    file_bytes: int = 0
    """Bytes of files in it; 0 for layers that this upper did not make."""


class IndexHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All but the entries."""

    base: str
    """Digest of the image that the upper stands on."""
    image: str
    """Digest of the last save's manifest."""
    repository: str
    exclude: tuple[str, ...] = ()
    below: tuple[SavedLayer, ...]
    """The image's layers that this upper did not make: the base's, or what they were merged to."""
    own: tuple[SavedLayer, ...]
    """The image's layers that this upper made, oldest first."""
    opaque: tuple[bytes, ...] = ()
    """Directories whose opaque whiteout is in one of these layers."""
    sparse: tuple[tuple[bytes, int], ...] = ()
    """Files with large holes in our own layers, and their sizes; one for each layer that has it."""


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """The last save."""

    head: IndexHead
    entries: dict[bytes, Facts]
    """Path below the upper's root -> its facts. The root itself is `b""`."""


def load(path: Path) -> Index | None:
    """The index, or None when there is none that can be used."""
    try:
        with path.open("rb") as file:
            return _read(_Reader(file))
    except (OSError, ValueError, struct.error, msgspec.MsgspecError):
        return None


def store(path: Path, index: Index) -> None:
    """Replace the index, durably and atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _summed(index), aside=path.with_name(path.name + ".new"))


def forget(path: Path) -> None:
    """Remove an index; the next save is a full one."""
    for name in (path, path.with_name(path.name + ".new")):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()


def _summed(index: Index) -> Iterator[bytes]:
    summed = hashlib.sha256()
    for part in _parts(index):
        summed.update(part)
        yield part
    yield summed.digest()


def _parts(index: Index) -> Iterator[bytes]:
    yield _MAGIC
    yield from _piece(msgspec.msgpack.encode(index.head))
    entries = iter(index.entries.items())
    while piece := list(islice(entries, _A_PIECE)):
        yield from _piece(b"".join(facts for _, facts in piece))
        yield from _piece(b"\0".join(path for path, _ in piece))
    yield from _piece(b"")


def _piece(data: bytes) -> Iterator[bytes]:
    yield _COUNT.pack(len(data))
    yield data


class _Reader:
    """Pieces of the file, and at the end whether they are what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._summed = hashlib.sha256()

    def take(self, size: int) -> bytes:
        """So many bytes. Raises ValueError."""
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError("the index ends early")
        self._summed.update(data)
        return data

    def piece(self) -> bytes:
        """The next one. Raises ValueError."""
        (size,) = _COUNT.unpack(self.take(_COUNT.size))
        if size > _MOST_BYTES:
            raise ValueError("the index is damaged")
        return self.take(size)

    def check(self) -> None:
        """Raises ValueError."""
        if self._file.read(self._summed.digest_size + 1) != self._summed.digest():
            raise ValueError("the index is damaged")


def _read(reader: _Reader) -> Index:
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("no index")
    head = msgspec.msgpack.decode(reader.piece(), type=IndexHead)
    entries: dict[bytes, Facts] = {}
    while facts := reader.piece():
        paths = reader.piece().split(b"\0")
        each = (facts[at : at + _FACTS.size] for at in range(0, len(facts), _FACTS.size))
        entries.update(zip(paths, each, strict=True))
    reader.check()
    return Index(head=head, entries=entries)
