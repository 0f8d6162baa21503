"""Copies an upper's changes into layers: in one walk, of a box that stands still or runs."""

from collections.abc import Callable
from dataclasses import dataclass, field

from node_agent.saver.entries import EntryWriter
from node_agent.saver.index import Index, SavedLayer
from node_agent.saver.layer import Target, Told, push_layer
from node_agent.saver.notes import Notes
from node_agent.saver.rules import Rules
from node_agent.saver.stream import TarStream
from node_agent.saver.tree import TreeWriter

OnDirectory = Callable[[int, bytes], None]
MakeTree = Callable[[EntryWriter], TreeWriter]


@dataclass(frozen=True)
class CopyJob:
    """Where from, where to, and since when."""

    upper: str
    rules: Rules
    since: Index | None
    """The last save; None writes everything."""
    target: Target


@dataclass
class Copied:
    """What the layers written so far make of the image."""

    tree: TreeWriter
    notes: Notes
    read_bytes: int = 0
    layers: tuple[SavedLayer, ...] = ()
    sparse: list[tuple[bytes, int]] = field(default_factory=list)
    frozen_ms: float = 0.0

    def add(self, later: "Copied") -> None:
        """A later copy lies over this one."""
        self.tree = later.tree
        self.read_bytes += later.read_bytes
        self.layers += later.layers
        self.sparse += later.sparse
        self.notes.add(later.notes)


def whole(job: CopyJob, on_directory: OnDirectory | None = None) -> MakeTree:
    """A walk of all since the last save."""
    known = job.since.entries if job.since else {}
    opaque = job.since.head.opaque if job.since else ()
    return lambda writer: TreeWriter(writer, job.rules, known, opaque, on_directory)


async def copy_tree(job: CopyJob, make: MakeTree, told: Told, *, live: bool) -> Copied:
    """Write one layer of what a walk finds. Raises DevboxError, OSError, NeedFull."""
    walks: list[tuple[EntryWriter, TreeWriter, TarStream]] = []

    def fill(stream: TarStream) -> None:
        writer = EntryWriter(stream, Notes(), live=live)
        tree = make(writer)
        walks.append((writer, tree, stream))
        tree.run(job.upper)

    layer = await push_layer(job.target, fill, told)
    writer, tree, stream = walks[0]
    return Copied(
        tree=tree,
        notes=writer.notes,
        read_bytes=stream.read_bytes,
        layers=(layer,) if layer else (),
        sparse=writer.sparse,
    )
