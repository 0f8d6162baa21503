"""Walks an upper and writes what changed since the last save.

The invariant: image of the last save + the layer written here = base image + upper. Directories are
opened one below the other and symlinks never followed, so a box that changes its tree meanwhile
can put nothing into its save that is not its own.
"""

import os
import stat
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from node_agent.saver import attributes
from node_agent.saver.entries import HOLE_BYTES, EntryWriter, Vanished, stored_bytes
from node_agent.saver.index import UNSURE, WHITEOUT, Facts, is_directory, pack
from node_agent.saver.rules import RESERVED, Rules

_ENCODING = sys.getfilesystemencoding()
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Entry(Protocol):
    """A name in a directory: `os.DirEntry` is one."""

    @property
    def name(self) -> str: ...

    def is_file(self, *, follow_symlinks: bool = True) -> bool: ...

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result: ...


class NeedFull(Exception):
    """What the last save hid shows again; only a full layer can say so."""


class _Frame:
    """An open directory in the walk."""

    __slots__ = ("entries", "fd", "forced", "path", "prefix", "status", "written")

    def __init__(self, fd: int, path: bytes, entries: Iterable[_Entry]) -> None:
        self.fd = fd
        self.path = path
        self.prefix = path + b"/" if path else b""
        self.status = os.fstat(fd)
        self.forced = False
        self.written = False
        self.entries = iter(entries)


def listed(fd: int) -> list[_Entry]:
    """All names of an open directory, in order."""
    with os.scandir(fd) as found:
        return sorted(found, key=_name)


def _name(entry: _Entry) -> str:
    return entry.name


class TreeWriter:
    """One walk. Afterwards `found` and `opaque` are what the image now holds.

    `known` is taken over: what did not change moves from it to `found`, so that a large tree is in
    memory once.
    """

    def __init__(
        self,
        writer: EntryWriter,
        rules: Rules,
        known: dict[bytes, Facts],
        known_opaque: Collection[bytes],
        on_directory: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._writer = writer
        self._rules = rules
        self._known = known
        self._known_opaque = frozenset(known_opaque)
        self._on_directory = on_directory
        self._forced: set[bytes] = set()
        self._stack: list[_Frame] = []
        self.found: dict[bytes, Facts] = {}
        self.opaque: set[bytes] = set()
        self.names: dict[int, list[bytes]] = {}
        """Inode -> paths, of files with several names."""
        self.live_bytes = 0
        """Of all files that the save holds; a file with several names counts once."""
        self.holed: dict[bytes, int] = {}
        """What counts of files with large holes."""

    def run(self, upper: str) -> None:
        """Write all that changed. Raises OSError, Conflict, NeedFull."""
        self.walk(upper)
        self.finish()

    def walk(self, upper: str) -> None:
        """Write what is there. Raises OSError, Conflict, NeedFull."""
        try:
            self._root(upper)
            while self._stack:
                self._step()
        finally:
            for frame in self._stack:
                os.close(frame.fd)

    def _root(self, upper: str) -> None:
        frame = self._open(os.open(upper, _DIRECTORY), b"")
        self._enter(frame, _root_facts(frame.fd, frame.status))

    def _step(self) -> None:
        frame = self._stack[-1]
        for entry in frame.entries:
            if self._unchanged(frame, entry):
                continue
            if self._visit(frame, entry):
                return
        os.close(frame.fd)
        self._stack.pop()

    def _unchanged(self, frame: _Frame, entry: _Entry) -> bool:
        """The short way for most files of a large tree. The long way decides all else."""
        path = frame.prefix + entry.name.encode(_ENCODING, "surrogateescape")
        known = self._known.get(path)
        if known is None or frame.forced or not entry.is_file(follow_symlinks=False):
            return False
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        if status.st_nlink != 1 or known != pack(
            status.st_ino,
            status.st_ctime_ns,
            status.st_mtime_ns,
            status.st_size,
            status.st_mode,
        ):
            return False
        self._keep(path, known)
        self._count(path, status)
        return True

    def _count(self, path: bytes, status: os.stat_result) -> None:
        size = status.st_size
        if size > HOLE_BYTES and (stored := stored_bytes(status)) < size:
            self.holed[path] = size = stored
        self.live_bytes += size // status.st_nlink

    def _keep(self, path: bytes, known: Facts) -> None:
        """It is as it was."""
        self.found[path] = known
        del self._known[path]

    def _visit(self, frame: _Frame, entry: _Entry) -> bool:
        """True when it is a directory that is walked next."""
        name = entry.name
        path = frame.prefix + os.fsencode(name)
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        kind = stat.S_IFMT(status.st_mode)
        if self._rules.skips(path, status) or kind == stat.S_IFSOCK:
            return False
        if name.startswith(RESERVED):
            self._writer.notes.reserved(path)
            return False
        if kind == stat.S_IFDIR:
            return self._descend(frame, name, path)
        if kind == stat.S_IFREG:
            self._count(path, status)
        facts = _facts(status)
        if status.st_nlink > 1 and facts is not WHITEOUT:
            self.names.setdefault(status.st_ino, []).append(path)
        known = self._known.get(path)
        if known == facts and not frame.forced:
            self._keep(path, known)
            return False
        self.found[path] = facts
        self._write(frame, name, path, status)
        return False

    def _write(self, frame: _Frame, name: str, path: bytes, status: os.stat_result) -> None:
        self._parents()
        if self.found[path] is WHITEOUT:
            self._writer.whiteout(path)
            return
        try:
            if not self._writer.write(frame.fd, name, path, status):
                self.found[path] = UNSURE
        except Vanished:
            del self.found[path]

    def _descend(self, frame: _Frame, name: str, path: bytes) -> bool:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=frame.fd)
        except OSError:
            return False
        below = self._open(fd, path)
        below.forced = frame.forced
        self._enter(below, _facts(below.status))
        return True

    def _open(self, fd: int, path: bytes) -> _Frame:
        if self._on_directory is not None:
            self._on_directory(fd, path)
        frame = _Frame(fd, path, ())
        self._stack.append(frame)
        frame.entries = iter(self._entries(fd, path))
        return frame

    def _entries(self, fd: int, path: bytes) -> Iterable[_Entry]:  # noqa: ARG002
        """What to visit in a directory."""
        return listed(fd)

    def _enter(self, frame: _Frame, facts: Facts) -> None:
        self.found[frame.path] = facts
        if frame.forced or self._known.get(frame.path) != facts:
            self._parents()
        elif frame.path in self._known_opaque:
            self.opaque.add(frame.path)

    def _parents(self) -> None:
        """A layer names the directories that lead to what it holds, so that they keep all else."""
        for frame in self._stack:
            if not frame.written:
                frame.written = True
                self._directory(frame)

    def _directory(self, frame: _Frame) -> None:
        own = attributes.of_open(frame.fd, frame.path)
        self._writer.directory(frame.path, frame.status, own)
        if own is not None and own.opaque:
            self.opaque.add(frame.path)
            if frame.forced or frame.path not in self._known_opaque:
                self._writer.opaque(frame.path)
                frame.forced = True
        if frame.forced:
            self._forced.add(frame.path)

    def finish(self) -> None:
        """Write what is there no more. Raises NeedFull."""
        self._deleted({path: self._known[path] for path in self._known.keys() - self.found.keys()})

    def _deleted(self, gone: Mapping[bytes, Facts]) -> None:
        for path in self._known_opaque - self.opaque:
            if is_directory(self.found.get(path, WHITEOUT)):
                raise NeedFull
        for path in sorted(gone):
            parent = path.rpartition(b"/")[0]
            above = self.found.get(parent)
            if above is None or not is_directory(above) or parent in self._forced:
                continue
            if gone[path] == WHITEOUT:
                raise NeedFull
            self._writer.whiteout(path)


def _facts(status: os.stat_result) -> Facts:
    mode = status.st_mode
    if stat.S_ISCHR(mode) and not status.st_rdev:
        return WHITEOUT
    return pack(status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size, mode)


def _root_facts(fd: int, status: os.stat_result) -> Facts:
    """Without the change time: each start of a box writes its nonce there."""
    own = attributes.of_open(fd, b"")
    kept = zlib.crc32(repr(own.records([]) if own else []).encode())
    owner = status.st_uid << 32 | status.st_gid
    return pack(owner, kept, status.st_mtime_ns, 0, status.st_mode)
