"""What changed while an upper was copied, read in the moment in which the box stands still.

Only the names that were seen to change are looked at, so the time does not grow with the tree. What
is read goes to memory; compressing it and finding what lies below deleted names waits until the box
runs again.
"""

import os
from collections.abc import Callable, Iterable, Mapping

from node_agent.saver.entries import EntryWriter
from node_agent.saver.index import Facts, inode_of, is_directory, is_file, size_of
from node_agent.saver.notes import shown
from node_agent.saver.pipeline import BUFFER_BYTES
from node_agent.saver.rules import Rules
from node_agent.saver.tree import TreeWriter, listed
from node_agent.saver.watch import Changed

MOST_BYTES = 96 << 20


class TooMuch(Exception):
    """More changed than fits the moment."""


class Memory:
    """A stream's buffers, kept. Raises TooMuch."""

    def __init__(self) -> None:
        self.filled: list[tuple[bytearray, int]] = []

    def take(self) -> bytearray:
        """An empty buffer."""
        if len(self.filled) * BUFFER_BYTES >= MOST_BYTES:
            raise TooMuch
        return bytearray(BUFFER_BYTES)

    def give(self, buffer: bytearray, used: int) -> None:
        """Keep it."""
        self.filled.append((buffer, used))

    def finish(self) -> None:
        """Nothing follows."""


class _Named:
    """One name of a directory, looked at when asked."""

    __slots__ = ("_directory", "name")

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self.name = name

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Not known without looking: take the long way."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As `os.DirEntry.stat`."""
        return os.stat(self.name, dir_fd=self._directory, follow_symlinks=follow_symlinks)


class DeltaTree(TreeWriter):
    """Visits changed names only. `finish` makes `found` and `opaque` those of the whole tree."""

    def __init__(
        self,
        writer: EntryWriter,
        rules: Rules,
        before: TreeWriter,
        changed: Changed,
        on_directory: Callable[[int, bytes], None] | None,
    ) -> None:
        super().__init__(writer, rules, before.found, before.opaque, on_directory)
        self._before = before
        self._fresh = changed.fresh
        self._look: dict[bytes, set[bytes]] = {}
        self._asked: set[bytes] = set()
        for path in changed.touched | changed.fresh:
            self.add(path)

    def add(self, path: bytes) -> None:
        """Look at this path too."""
        self._asked.add(path)
        while path:
            path, _, name = path.rpartition(b"/")
            names = self._look.setdefault(path, set())
            if name in names:
                return
            names.add(name)

    def links(self, upper: str) -> None:
        """Look at all names of files that have several."""
        for path in list(self._asked):
            try:
                inode = os.lstat(os.path.join(os.fsencode(upper), path)).st_ino
            except OSError:
                continue
            for name in self._before.names.get(inode, ()):
                self.add(name)

    def _entries(self, fd: int, path: bytes) -> Iterable[object]:  # type: ignore[override]
        if self._is_new(path):
            return listed(fd)
        return [_Named(fd, os.fsdecode(name)) for name in sorted(self._look.get(path, ()))]

    def _is_new(self, path: bytes) -> bool:
        """Nothing below this directory was there before, by this name."""
        known = self._known.get(path)
        return path in self._fresh or known is None or not is_directory(known)

    def _keep(self, path: bytes, known: Facts) -> None:
        """What is known stays whole: the moment may fail."""
        self.found[path] = known

    def finish(self) -> None:
        """Write what is there no more, and take over what was not looked at. Raises NeedFull.

        The tree before is of no use then.
        """
        roots = {path for path in self._asked if path not in self.found}
        roots |= {path for path in self.found if path in self._known and self._replaced(path)}
        gone = _at_or_below(self._known, roots) - self.found.keys() if roots else set()
        self.opaque |= {
            path for path in self._before.opaque if path not in self.found and path not in gone
        }
        self._count_again((*self.found, *gone))
        was = {path: self._known.pop(path) for path in gone}
        self._known.update(self.found)
        self.found = self._known
        for inode, paths in self._before.names.items():
            self.names.setdefault(inode, paths)
        self._deleted(was)

    def _count_again(self, paths: Iterable[bytes]) -> None:
        """Of the whole tree: what it was, and what these paths make of it."""
        before = self._before
        known = {path: self._known[path] for path in paths if path in self._known}
        self.live_bytes = before.live_bytes - _bytes_of(known, before.holed)
        self.live_bytes += _bytes_of(self.found, self.holed)
        left = {path: size for path, size in before.holed.items() if path not in known}
        self.holed = left | self.holed

    def largest(self) -> str:
        """Names the largest file that was written, as the end of a sentence."""
        written = {
            path: size_of(facts) for path, facts in self.found.items() if self._differs(path)
        }
        path = max(written, key=lambda path: written[path], default=b"")
        return f"; the largest file in it is {shown(path)}" if path else ""

    def _differs(self, path: bytes) -> bool:
        facts = self.found[path]
        return is_file(facts) and self._known.get(path) != facts

    def _replaced(self, path: bytes) -> bool:
        was, now = self._known[path], self.found[path]
        return is_directory(was) and (path in self._fresh or not is_directory(now))


def _bytes_of(files: Mapping[bytes, Facts], holed: Mapping[bytes, int]) -> int:
    """A file with several names counts once."""
    sizes = {inode_of(facts): holed.get(path, size_of(facts)) for path, facts in files.items()}
    return sum(sizes.values())


def _at_or_below(known: Mapping[bytes, Facts], roots: set[bytes]) -> set[bytes]:
    found = {path for path in roots if path in known}
    trees = {path for path in found if is_directory(known[path])}
    if trees:
        found |= {path for path in known if _inside(path, trees)}
    return found


def _inside(path: bytes, trees: set[bytes]) -> bool:
    at = path.rfind(b"/")
    while at > 0:
        if path[:at] in trees:
            return True
        at = path.rfind(b"/", 0, at)
    return False
