"""Saves a running box: copy while it runs, then let it stand still for what changed meanwhile.

The invariant: the layers together are what the box's disk held in one moment, or the save says that
it is consistent per file only. The moment has a limit that a process of its own keeps.
"""

import asyncio
import os
from dataclasses import dataclass

from devbox.edge.priority import as_all_others
from devbox.model.projects import WhenBusy
from node_agent.saver import delta
from node_agent.saver.copying import Copied, CopyJob, MakeTree, copy_tree, whole
from node_agent.saver.delta import DeltaTree, Memory, TooMuch
from node_agent.saver.entries import EntryWriter, stored_bytes
from node_agent.saver.freezing import CannotFreeze, Freeze, processes
from node_agent.saver.layer import Fill, Told, push_layer
from node_agent.saver.mapped import mapped_files, sync
from node_agent.saver.notes import Notes, shown
from node_agent.saver.stream import TarStream
from node_agent.saver.tree import TreeWriter
from node_agent.saver.watch import Changed, Watch

_TRIES = 3


@dataclass(frozen=True)
class Box:
    """The running box."""

    cgroup: str
    freeze_limit_ms: int
    when_busy: WhenBusy


class _Missed(Exception):
    """The moment failed: `why` is a sentence. `hopeless`: trying again changes nothing."""

    def __init__(self, why: str, *, hopeless: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.hopeless = hopeless


class LiveCopy:
    """One save of a running box."""

    def __init__(self, job: CopyJob, box: Box, told: Told) -> None:
        self._job = job
        self._box = box
        self._told = told
        self._watch = Watch(None)
        self._pending = Changed()
        self._too_large: set[bytes] = set()

    async def run(self) -> Copied:
        """Copy it. Raises DevboxError, OSError, NeedFull."""
        tries = _TRIES if self._box.when_busy is WhenBusy.RETRY else 1
        try:
            done = await self._first()
            for number in range(1, tries + 1):
                try:
                    await self._moment(done)
                    break
                except _Missed as missed:
                    if number == tries or missed.hopeless:
                        done.notes.inconsistent(missed.why)
                        break
                await self._catch_up(done)
        finally:
            self._watch.close()
        return done

    async def _first(self) -> Copied:
        await asyncio.to_thread(self._sync_mapped)
        self._renew_watch()
        make = whole(self._job, self._watch.directory)
        return await copy_tree(self._job, make, self._told, live=True)

    def _renew_watch(self) -> None:
        self._watch.close()
        pids = processes(self._box.cgroup)
        self._watch = Watch(pids[0] if pids else None)
        self._pending = Changed()

    def _sync_mapped(self) -> set[bytes]:
        paths = mapped_files(self._box.cgroup)
        sync(self._job.upper, paths)
        return paths

    async def _catch_up(self, done: Copied) -> None:
        """Copy what changed, while the box goes on."""
        self._take(done)
        if self._watch.lost:
            self._renew_watch()
            make = self._walk(done.tree)
        else:
            make = self._delta(done.tree, self._pending)
            self._pending = Changed()
        done.notes.moved.clear()
        done.add(await copy_tree(self._job, make, self._told, live=True))

    def _walk(self, before: TreeWriter) -> MakeTree:
        rules, watch = self._job.rules, self._watch
        return lambda writer: TreeWriter(
            writer, rules, before.found, before.opaque, watch.directory
        )

    def _delta(self, before: TreeWriter, changed: Changed) -> MakeTree:
        def make(writer: EntryWriter) -> TreeWriter:
            rules, watch = self._job.rules, self._watch
            tree = DeltaTree(writer, rules, before, changed, watch.directory)
            tree.links(self._job.upper)
            return tree

        return make

    def _take(self, done: Copied) -> None:
        """Gather what is known to have changed."""
        new = self._watch.drain()
        self._pending.touched |= new.touched | set(done.notes.moved)
        self._pending.fresh |= new.fresh

    async def _moment(self, done: Copied) -> None:
        if not processes(self._box.cgroup):
            done.notes.moved.clear()
            done.add(await copy_tree(self._job, self._walk(done.tree), self._told, live=False))
            return
        later, memory = await asyncio.to_thread(self._still, done)
        if memory.filled:
            layer = await push_layer(self._job.target, _replay(memory), self._told)
            later.layers = (layer,) if layer else ()
        done.notes.moved.clear()
        done.add(later)

    def _still(self, done: Copied) -> tuple[Copied, Memory]:
        """In a thread, at normal priority: the box must not wait for idle time."""
        with as_all_others():
            return self._frozen_copy(done)

    def _frozen_copy(self, done: Copied) -> tuple[Copied, Memory]:
        self._sync_mapped()
        self._take(done)
        self._refuse_lost()
        self._refuse_large()
        memory = Memory()
        stream = TarStream(memory)
        writer = EntryWriter(stream, Notes(), live=False)
        freeze = Freeze(self._box.cgroup, self._box.freeze_limit_ms)
        try:
            freeze.prepare()
            with freeze:
                tree = self._copy_changes(done, writer)
        except CannotFreeze:
            raise _Missed("the box could not be made to stand still") from None
        finally:
            freeze.close()
            done.frozen_ms = max(done.frozen_ms, freeze.frozen_ms)
        if not freeze.held:
            why = f"the rest took longer than {self._box.freeze_limit_ms} ms"
            raise _Missed(why + tree.largest())
        tree.finish()
        stream.flush()
        self._pending = Changed()
        return Copied(tree, writer.notes, stream.read_bytes, (), writer.sparse), memory

    def _copy_changes(self, done: Copied, writer: EntryWriter) -> DeltaTree:
        """While the box stands still."""
        mapped = self._sync_mapped()
        self._take(done)
        self._refuse_lost()
        changed = Changed(self._pending.touched | mapped, self._pending.fresh)
        tree = DeltaTree(writer, self._job.rules, done.tree, changed, None)
        tree.links(self._job.upper)
        try:
            tree.walk(self._job.upper)
        except TooMuch:
            why = f"more than {delta.MOST_BYTES >> 20} MiB changed meanwhile"
            raise _Missed(why + tree.largest()) from None
        return tree

    def _refuse_lost(self) -> None:
        if self._watch.lost:
            raise _Missed("too much changed to follow")

    def _refuse_large(self) -> None:
        """Name the largest file rather than begin what cannot end in time."""
        paths = self._pending.touched | self._pending.fresh
        sizes = {path: _size(self._job.upper, path) for path in paths}
        if sum(sizes.values()) > delta.MOST_BYTES:
            largest = max(sizes, key=lambda path: sizes[path])
            again = largest in self._too_large
            self._too_large.add(largest)
            why = f"{shown(largest)} changes faster than it can be copied"
            raise _Missed(why, hopeless=again)


def _replay(memory: Memory) -> Fill:
    def fill(stream: TarStream) -> None:
        stream.entries += 1
        for buffer, used in memory.filled:
            stream.raw(memoryview(buffer)[:used])

    return fill


def _size(upper: str, path: bytes) -> int:
    try:
        return stored_bytes(os.lstat(os.path.join(os.fsencode(upper), path)))
    except OSError:
        return 0
