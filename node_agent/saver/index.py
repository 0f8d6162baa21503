"""The index of the last save: what the image of that save holds, as far as this upper made it.

One file per upper, replaced atomically after the push. It is a cache: lost or damaged, the next
save is a full layer. Reading 200,000 entries takes a tenth of a second, so it is arrays, not rows.
"""

import contextlib
import hashlib
import struct
from array import array
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import msgspec

from devbox.edge.durable import replace_file
from devbox.edge.registry.documents import Descriptor

_MAGIC = b"devbox-index-1\n"
_FIELDS = 5
_HEAD = struct.Struct(">I")

Facts = tuple[int, int, int, int, int]
"""inode, ctime in ns, mtime in ns, size, mode. Equal facts mean an equal file."""

WHITEOUT: Facts = (0, 0, 0, 0, 0)
"""All whiteouts of an upper are one inode with many names: only their being there counts."""

UNSURE: Facts = (-1, -1, -1, 0, 0)
"""Saved, but it changed meanwhile: equal to nothing, so the next save takes it again."""


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
    """Files with large holes in these layers, and their sizes."""


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """The last save."""

    head: IndexHead
    entries: Mapping[bytes, Facts]
    """Path below the upper's root -> its facts. The root itself is `b""`."""


def load(path: Path) -> Index | None:
    """The index, or None when there is none that can be used."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    try:
        return _decode(raw)
    except (ValueError, struct.error, msgspec.MsgspecError):
        return None


def store(path: Path, index: Index) -> None:
    """Replace the index, durably and atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _encode(index), aside=path.with_name(path.name + ".new"))


def forget(path: Path) -> None:
    """Remove an index; the next save is a full one."""
    for name in (path, path.with_name(path.name + ".new")):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()


def _encode(index: Index) -> bytes:
    head = msgspec.msgpack.encode(index.head)
    numbers = array("q", chain.from_iterable(index.entries.values())).tobytes()
    paths = b"\0".join(index.entries)
    body = b"".join((_HEAD.pack(len(head)), head, _HEAD.pack(len(index.entries)), numbers, paths))
    return _MAGIC + hashlib.sha256(body).digest() + body


def _decode(raw: bytes) -> Index | None:
    start = len(_MAGIC) + hashlib.sha256().digest_size
    body = memoryview(raw)[start:]
    if raw[: len(_MAGIC)] != _MAGIC or hashlib.sha256(body).digest() != raw[len(_MAGIC) : start]:
        return None
    (size,) = _HEAD.unpack_from(body)
    at = _HEAD.size + size
    head = msgspec.msgpack.decode(body[_HEAD.size : at], type=IndexHead)
    (count,) = _HEAD.unpack_from(body, at)
    at += _HEAD.size
    numbers = array("q")
    numbers.frombytes(body[at : at + count * _FIELDS * numbers.itemsize])
    paths = bytes(body[at + count * _FIELDS * numbers.itemsize :]).split(b"\0")
    each = iter(numbers)
    entries = dict(zip(paths, zip(each, each, each, each, each, strict=True), strict=True))
    return Index(head=head, entries=entries if count else {})
