"""A save from beginning to end: decide, write, assemble, push, remember.

Until the manifest is put, only blobs that nothing refers to were added; the index is replaced after
it. So being killed at any moment leaves the last save, and a next try begins afresh.
"""

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path
from typing import Protocol

import msgspec

from devbox.edge.registry import ImageDocument, Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST
from devbox.edge.registry.images import (
    RUNTIME_LAYERS,
    SPARSE,
    MadeImage,
    NewLayer,
    append,
    keep_first,
    model_image,
    runtime_layers,
    sparse_files,
)
from devbox.edge.registry.pull import Place, copy_blob
from devbox.model.saves import SaveStep
from node_agent.faults import Fault, no_fault
from node_agent.saver import index as indexes
from node_agent.saver.copying import Copied, CopyJob, copy_tree, whole
from node_agent.saver.index import UNSURE, Index, IndexHead, SavedLayer, changed_ns
from node_agent.saver.layer import MEDIA_TYPES, Target, Told
from node_agent.saver.live import Box, LiveCopy
from node_agent.saver.merging import CannotMerge, Merge
from node_agent.saver.orders import SavedImage, UpperSave
from node_agent.saver.rules import Rules
from node_agent.saver.tree import NeedFull

CREATED_BY = "devbox save"
MOST_LAYERS = 16
"""Above the runtime."""
MOST_OWN_LAYERS = 12
_LEAST_TO_MERGE = 2
_TICK_NS = 20_000_000
_FINE_TIMES = [int(part) for part in re.findall(r"\d+", os.uname().release)[:2]] >= [6, 13]
"""Whether a change after a look always gets a new time (multigrain timestamps, Linux 6.13)."""
MOST_TO_LIVE = 1.3
"""Bytes of files in our layers, to those of the upper."""
DEAD_FROM_BYTES = 1 << 20


class Observer(Protocol):
    """Hears how a save goes."""

    async def progress(self, done: int, expected: int) -> None:
        """Bytes of files read, and how many there may be; 0 is unknown."""

    async def step(self, step: SaveStep) -> None:
        """A step is done; returns when it is recorded."""


class SaveWork:
    """One order."""

    def __init__(
        self, order: UpperSave, registry: Registry, observer: Observer, fault: Fault = no_fault
    ) -> None:
        self._order = order
        self._fault = fault
        self._registry = registry
        self._observer = observer
        self._index = Path(order.index)
        self._target = Target(registry, order.repository, order.compression)

    async def run(self) -> SavedImage:
        """Do it. Raises DevboxError, OSError."""
        order = self._order
        begun_ns = time.time_ns()
        _, base = await self._registry.image(order.base.repository, order.base.digest)
        since, copied = await self._write(await self._usable(indexes.load(self._index)))
        self._fault("worker: layers")
        state = combine(order, base, since, copied)
        state = state if _FINE_TIMES else settled(state, begun_ns)
        await self._gather(state.head.below)
        state = await self._shorten(state, runtime_layers(base))
        made = assemble(base, state.head)
        changed = bool(copied.layers) or (bool(state.head.own) and made.digest != order.known)
        if changed or not order.only_changes:
            await self._push(made)
        state = msgspec.structs.replace(
            state, head=msgspec.structs.replace(state.head, image=made.digest)
        )
        await asyncio.to_thread(self._remember, state)
        self._fault("worker: index")
        await self._observer.step(SaveStep.PUSHED)
        return self._answer(made, copied, changed=changed)

    async def _usable(self, found: Index | None) -> Index | None:
        """The index, if a layer of what changed since can be put on its image."""
        order = self._order
        if found is None or order.full or len(found.head.own) >= MOST_OWN_LAYERS:
            return None
        head = found.head
        if (head.base, head.repository) != (order.base.digest, order.repository):
            return None
        if head.exclude != order.exclude:
            return None
        wanted = MEDIA_TYPES[order.compression]
        if any(layer.descriptor.media_type != wanted for layer in head.own):
            return None
        here = await asyncio.gather(*(self._has(layer) for layer in (*head.below, *head.own)))
        return found if all(here) else None

    async def _has(self, layer: SavedLayer) -> bool:
        here = await self._registry.blob_size(self._order.repository, layer.descriptor.digest)
        return here == layer.descriptor.size

    async def _write(self, since: Index | None) -> tuple[Index | None, Copied]:
        """Layers of what changed; a full one where that would not do or would waste space."""
        try:
            copied = await self._copy(since)
        except NeedFull:
            return None, await self._copy(None)
        if since is None or not copied.layers or not wasteful(since, copied):
            return since, copied
        for layer in copied.layers:
            await self._registry.delete_blob(self._order.repository, layer.descriptor.digest)
        return None, await self._copy(None)

    async def _copy(self, since: Index | None) -> Copied:
        order = self._order
        job = CopyJob(
            upper=order.upper,
            rules=Rules(order.exclude),
            since=since,
            target=self._target,
        )
        told = self._told(since)
        if not order.cgroup:
            return await copy_tree(job, whole(job), told, live=False)
        box = Box(order.cgroup, order.freeze_limit_ms, order.when_busy)
        return await LiveCopy(job, box, told).run()

    def _told(self, since: Index | None) -> Told:
        expected = 0 if since else self._order.expected_bytes

        async def told(done: int) -> None:
            await self._observer.progress(done, max(done, expected) if expected else 0)

        return told

    async def _gather(self, below: tuple[SavedLayer, ...]) -> None:
        """Have the layers below ours in our repository."""
        source = Place(self._registry, self._order.base.repository)
        target = Place(self._registry, self._order.repository)
        await asyncio.gather(*(copy_blob(source, layer.descriptor, target) for layer in below))

    async def _shorten(self, state: Index, runtime: int) -> Index:
        """Merge the saved layers below ours, which no upper can write anew, when they are many."""
        head = state.head
        saved = head.below[runtime:]
        if len(saved) < _LEAST_TO_MERGE or len(saved) + len(head.own) <= MOST_LAYERS:
            return state
        found = [layer.descriptor for layer in saved]
        try:
            merged = await Merge(self._target, found).run(self._told(state))
        except CannotMerge:
            return state
        below = (*head.below[:runtime], *((merged,) if merged else ()))
        return msgspec.structs.replace(state, head=msgspec.structs.replace(head, below=below))

    async def _push(self, made: MadeImage) -> None:
        order = self._order
        await self._registry.put_blob(order.repository, made.config, CONFIG)
        self._fault("worker: blobs")
        await self._observer.step(SaveStep.WRITTEN)
        await self._forget_first_try(made)
        self._fault("worker: first try")
        for tag in order.tags or ("",):
            await self._registry.put_manifest(order.repository, made.manifest, MANIFEST, tag)
            self._fault("worker: manifest")

    async def _forget_first_try(self, made: MadeImage) -> None:
        """Remove what an earlier try of this very save pushed before it was killed.

        Nothing would ever refer to that image again. It may be another save's too: then it stays.
        """
        repository = self._order.repository
        for tag in self._order.tags[:1]:
            first = await self._registry.manifest_digest(repository, tag)
            if first is None or first == made.digest:
                continue
            others = [
                name
                for name in await self._registry.tags(repository)
                if name not in self._order.tags
            ]
            named = [await self._registry.manifest_digest(repository, name) for name in others]
            if first not in named:
                await self._registry.delete_manifest(repository, first)

    def _remember(self, state: Index) -> None:
        """Without room for the new index the last one stays true: the next save takes more."""
        with contextlib.suppress(OSError):
            indexes.store(self._index, state)

    def _answer(self, made: MadeImage, copied: Copied, *, changed: bool) -> SavedImage:
        document = made.document
        above = document.manifest.layers[runtime_layers(document) :]
        return SavedImage(
            image=model_image(self._order.repository, made.digest, document),
            changed=changed,
            layers=len(above),
            new_bytes=sum(layer.descriptor.size for layer in copied.layers),
            total_bytes=sum(layer.size for layer in above),
            upper_bytes=copied.tree.live_bytes,
            read_bytes=copied.read_bytes,
            frozen_ms=copied.frozen_ms,
            note=" ".join(
                (
                    *copied.notes.lasting(),
                    *copied.notes.passing(),
                    *copied.notes.large(copied.read_bytes),
                )
            ),
        )


def layers_of(document: ImageDocument) -> tuple[SavedLayer, ...]:
    """An image's layers as the index keeps them."""
    pairs = zip(document.manifest.layers, document.diff_ids, strict=True)
    return tuple(SavedLayer(descriptor=found, diff_id=diff_id) for found, diff_id in pairs)


def wasteful(since: Index, copied: Copied) -> bool:
    """Whether too much of our layers would be files that are changed or gone.

    A file with large holes that is gone is: an unpacker would write it out before it removes it.
    """
    if any(path not in copied.tree.found for path, _ in since.head.sparse):
        return True
    own = sum(layer.file_bytes for layer in since.head.own) + copied.read_bytes
    return own > DEAD_FROM_BYTES and own > copied.tree.live_bytes * MOST_TO_LIVE


def combine(order: UpperSave, base: ImageDocument, since: Index | None, copied: Copied) -> Index:
    """What the image of this save will hold."""
    tree = copied.tree
    head = IndexHead(
        base=order.base.digest,
        image="",
        repository=order.repository,
        exclude=order.exclude,
        below=since.head.below if since else layers_of(base),
        own=(*(since.head.own if since else ()), *copied.layers),
        opaque=tuple(sorted(tree.opaque)),
        sparse=(*(since.head.sparse if since else ()), *copied.sparse),
    )
    return Index(head=head, entries=tree.found)


def settled(state: Index, begun_ns: int) -> Index:
    """Without files that changed so shortly before that a later change may have the same time."""
    young = begun_ns - _TICK_NS
    for path, facts in state.entries.items():
        if changed_ns(facts) > young:
            state.entries[path] = UNSURE
    return state


def assemble(base: ImageDocument, head: IndexHead) -> MadeImage:
    """The image of a save: the base's config, the layers below ours, and ours."""
    runtime = runtime_layers(base)
    below = head.below
    ground = base if below == layers_of(base) else keep_first(base, runtime)
    layers = (*below[len(ground.manifest.layers) :], *head.own)
    annotations = {RUNTIME_LAYERS: str(runtime)}
    if sparse := [*sparse_files(base), *((os.fsdecode(path), size) for path, size in head.sparse)]:
        annotations[SPARSE] = msgspec.json.encode(
            [[name.encode("utf-8", "backslashreplace").decode(), size] for name, size in sparse]
        ).decode()
    new = [
        NewLayer(descriptor=one.descriptor, diff_id=one.diff_id, created_by=CREATED_BY)
        for one in layers
    ]
    return append(ground, new, annotations)
