"""Compares two saves by reading their layers from the registry, in a process of its own.

Content is decompressed anyway to get from one header to the next, so it is hashed on the way: a
change that keeps size and time is seen.
"""

import asyncio
import contextlib
import hashlib
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, cast

import msgspec

from devbox.edge.registry import Descriptor, Registry
from devbox.edge.rpc import Failure, error_of
from devbox.model.errors import DevboxError, Internal
from devbox.model.nodes import DiffOrder
from devbox.model.projects import Image
from devbox.model.saves import PathChange, SaveDiff
from node_agent.saver import headers
from node_agent.saver.differing import (
    Fact,
    Keep,
    Listing,
    compare,
    flatten,
    interest,
    page,
    resolve_links,
    whole,
)
from node_agent.saver.merging import (
    Above,
    CannotMerge,
    Entry,
    Source,
    entries,
    open_layer,
    pax_records,
    pieces,
)

_NICE = 10
_HASH_BYTES = 16
_ATTRIBUTE = b"SCHILY.xattr."
_KINDS = {
    tarfile.REGTYPE: headers.FILE,
    tarfile.AREGTYPE: headers.FILE,
    tarfile.CONTTYPE: headers.FILE,
    tarfile.GNUTYPE_SPARSE: headers.FILE,
}


_How = Callable[[Source], Iterator[tuple[Entry, Fact]]]


class _Question(msgspec.Struct, frozen=True):
    registry_url: str
    order: DiffOrder


async def ask_worker(registry_url: str, order: DiffOrder) -> SaveDiff:
    """Compare in a process of lower priority. Raises DevboxError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "node_agent.saver.comparing",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        question = msgspec.json.encode(_Question(registry_url, order))
        out, _ = await process.communicate(question)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == 0:
        return msgspec.json.decode(out, type=SaveDiff)
    try:
        failure = msgspec.json.decode(out, type=Failure)
    except msgspec.MsgspecError as error:
        raise Internal("the comparison of two saves ended in the middle") from error
    raise error_of(failure)


async def diff(registry: Registry, order: DiffOrder) -> SaveDiff:
    """Read what is needed of both images and compare."""
    old = await _layers(registry, order.older)
    new = await _layers(registry, order.newer)
    common = _shared(old, new)
    loop = asyncio.get_running_loop()
    reader = _Reader(registry, order.newer.repository, loop)
    changes = await asyncio.to_thread(_compare, reader, old, new, common)
    empty = SaveDiff(older=order.older_seq, newer=order.newer_seq)
    return page(empty, changes, order.after, order.limit)


async def _layers(registry: Registry, image: Image) -> tuple[Descriptor, ...]:
    _, document = await registry.image(image.repository, image.digest)
    return tuple(document.manifest.layers)


def _shared(old: Sequence[Descriptor], new: Sequence[Descriptor]) -> int:
    """How many layers both begin with."""
    count = 0
    for one, two in zip(old, new, strict=False):
        if one.digest != two.digest:
            break
        count += 1
    return count


def _compare(
    reader: "_Reader", old: Sequence[Descriptor], new: Sequence[Descriptor], common: int
) -> list[PathChange]:
    ours = [reader.listing(layer) for layer in old[common:]]
    theirs = [reader.listing(layer) for layer in new[common:]]
    if not ours and not theirs:
        return []
    keep = interest(ours, theirs)
    below = [reader.listing(layer, keep) for layer in old[:common]]
    ground = flatten(below, keep, Above())
    return compare(whole(ground, ours), whole(ground, theirs))


class _Reader:
    """Lists layers of one repository. For a thread."""

    def __init__(
        self, registry: Registry, repository: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._loop = loop

    def listing(self, layer: Descriptor, keep: Keep | None = None) -> Listing:
        """All entries; of those that `keep` does not want, only what they hide."""
        try:
            found = self._read(layer, _ours)
        except (CannotMerge, ValueError):
            found = self._read(layer, _foreign)
        return [one for one in found if keep is None or _matters(one[0], keep)]

    def _read(self, layer: Descriptor, how: _How) -> Listing:
        with open_layer(self._registry, self._repository, layer, self._loop) as source:
            return resolve_links(list(how(source)))


def _matters(entry: Entry, keep: Keep) -> bool:
    return keep(entry.path) or entry.path.rpartition(b"/")[2].startswith(b".wh.")


def _ours(source: Source) -> Iterator[tuple[Entry, Fact]]:
    """Of a layer that this package wrote."""
    for entry in entries(source):
        block = entry.raw[-headers.BLOCK :]
        records: dict[bytes, bytes] = {}
        if len(entry.raw) > headers.BLOCK:
            size = int(entry.raw[124:135], 8)
            records = pax_records(entry.raw[headers.BLOCK : headers.BLOCK + size])
        stored = int(records.get(b"size") or int(block[124:135], 8))
        content = _hash(source, stored, entry.size)
        if entry.kind != headers.FILE:
            content = entry.link or block[329:345]
        fact = Fact(
            kind=entry.kind,
            mode=int(block[100:107], 8),
            uid=int(records.get(b"uid") or int(block[108:115], 8)),
            gid=int(records.get(b"gid") or int(block[116:123], 8)),
            size=int(records.get(b"GNU.sparse.realsize") or stored),
            content=content,
            attributes=_attributes(records),
        )
        yield _plain(entry), fact


def _hash(source: Source, stored: int, padded: int) -> bytes:
    found = hashlib.blake2b(digest_size=_HASH_BYTES)
    left = stored
    for piece in pieces(source, padded):
        found.update(piece[:left])
        left = max(0, left - len(piece))
    return found.digest()


def _plain(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, raw=b"", path=_path(entry.path), link=_path(entry.link))


def _path(name: bytes) -> bytes:
    """Without the `./` and `/` that some tools begin names with; the root is empty."""
    plain = name.removeprefix(b"./").strip(b"/")
    return b"" if plain == b"." else plain


def _attributes(records: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(pair for pair in records.items() if pair[0].startswith(_ATTRIBUTE)))


def _foreign(source: Source) -> Iterator[tuple[Entry, Fact]]:
    """Of a layer that another tool wrote."""
    readable = cast("IO[bytes]", source)
    with tarfile.open(
        fileobj=readable, mode="r|", encoding="utf-8", errors="surrogateescape"
    ) as tar:
        for member in tar:
            link = _bytes(member.linkname)
            records = {_bytes(k): _bytes(v) for k, v in member.pax_headers.items()}
            kind = _KINDS.get(member.type, member.type)
            content = link
            if kind == headers.FILE and not member.issparse():
                content = _hash_of_member(tar, member)
            entry = Entry(b"", _path(_bytes(member.name)), kind, member.size, _path(link))
            fact = Fact(
                kind=kind,
                mode=member.mode & 0o7777,
                uid=member.uid,
                gid=member.gid,
                size=member.size,
                content=content,
                attributes=_attributes(records),
            )
            yield entry, fact


def _hash_of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    found = hashlib.blake2b(digest_size=_HASH_BYTES)
    while file is not None and (piece := file.read(1 << 20)):
        found.update(piece)
    return found.digest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


async def _main() -> int:
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=_Question)
    status = 0
    try:
        async with Registry(question.registry_url) as registry:
            answer: msgspec.Struct = await diff(registry, question.order)
    except (DevboxError, OSError, tarfile.TarError) as error:
        known = error if isinstance(error, DevboxError) else Internal(str(error))
        answer, status = Failure(known.code, known.message, known.hint), 1
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return status


if __name__ == "__main__":
    from node_agent.saver.worker import lower_priority

    lower_priority(_NICE)
    sys.exit(asyncio.run(_main()))
