"""Writes single files of an upper into a layer, exactly as they are."""

import errno
import os
import stat

from node_agent.saver import attributes, headers
from node_agent.saver.attributes import Attributes
from node_agent.saver.headers import Records
from node_agent.saver.notes import Notes
from node_agent.saver.stream import TarStream

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOATIME | os.O_NOCTTY
HOLE_BYTES = 64 << 20
"""Files with more bytes of holes are stored as sparse; others as zeros, which every tool reads."""
_SPARSE_FROM = 1 << 20
SECTOR = 512
_GONE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.ESTALE})
_TYPES = {
    stat.S_IFLNK: headers.SYMLINK,
    stat.S_IFCHR: headers.CHAR,
    stat.S_IFBLK: headers.BLOCK_DEVICE,
    stat.S_IFIFO: headers.FIFO,
}


def stored_bytes(status: os.stat_result) -> int:
    """Bytes of a plain file that a layer holds: large holes are not among them."""
    data = status.st_blocks * SECTOR
    return data if status.st_size - data > HOLE_BYTES else status.st_size


class Vanished(Exception):
    """The file was removed or replaced since it was seen."""


class EntryWriter:
    """Writes entries to one layer. `live`: the box runs, so files may change while read."""

    def __init__(self, stream: TarStream, notes: Notes, *, live: bool) -> None:
        self._stream = stream
        self._live = live
        self._links: dict[tuple[int, ...], bytes] = {}
        self.notes = notes
        self.sparse: list[tuple[bytes, int]] = []
        """Files with large holes and their sizes."""

    def whiteout(self, path: bytes) -> None:
        """Say that a path is deleted."""
        self._stream.header(headers.whiteout(path))

    def opaque(self, path: bytes) -> None:
        """Say that nothing of earlier layers shows in a directory."""
        self._stream.header(headers.opaque(path))

    def directory(self, path: bytes, status: os.stat_result, own: Attributes | None) -> None:
        """Write a directory's own entry."""
        self._stream.header(
            headers.general(
                (path or b".") + b"/",
                _owner(status),
                0,
                status.st_mtime_ns,
                _rest(headers.DIRECTORY),
                self._records(own, path),
            )
        )

    def write(self, directory: int, name: str, path: bytes, status: os.stat_result) -> bool:
        """Write anything but a directory. False when it changed meanwhile. Raises Vanished."""
        if status.st_nlink > 1 and self._linked(path, status):
            return True
        try:
            if stat.S_ISREG(status.st_mode):
                return self._file(directory, name, path, status)
            self._special(directory, name, path, status)
        except OSError as error:
            if self._live and error.errno in _GONE:
                raise Vanished from error
            raise
        return True

    def _linked(self, path: bytes, status: os.stat_result) -> bool:
        key = (status.st_ino, status.st_ctime_ns, status.st_size, status.st_mode)
        first = self._links.setdefault(key, path)
        if first is path:
            return False
        rest = (headers.LINK, first, headers.device_fields(0, 0))
        self._stream.header(headers.general(path, _owner(status), 0, status.st_mtime_ns, rest))
        return True

    def _special(self, directory: int, name: str, path: bytes, status: os.stat_result) -> None:
        link = b""
        if stat.S_ISLNK(status.st_mode):
            link = os.fsencode(os.readlink(name, dir_fd=directory))
        device = headers.device_fields(os.major(status.st_rdev), os.minor(status.st_rdev))
        rest = (_TYPES[stat.S_IFMT(status.st_mode)], link, device)
        own = attributes.of_named(directory, name, path)
        self._stream.header(
            headers.general(
                path, _owner(status), 0, status.st_mtime_ns, rest, self._records(own, path)
            )
        )

    def _file(self, directory: int, name: str, path: bytes, status: os.stat_result) -> bool:
        fd = os.open(name, _OPEN, dir_fd=directory)
        try:
            if self._live and not _same(status, os.fstat(fd)):
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise Vanished
                self._contents(fd, path, status)
                still = False
            else:
                still = self._contents(fd, path, status)
            if still and (not self._live or _same(status, os.fstat(fd))):
                return True
        finally:
            os.close(fd)
        self.notes.moved.append(path)
        return False

    def _contents(self, fd: int, path: bytes, status: os.stat_result) -> bool:
        own = attributes.of_open(fd, path)
        size = status.st_size
        if own is not None and own.whiteout and not size:
            self.whiteout(path)
            return True
        if size >= _SPARSE_FROM and status.st_blocks * SECTOR < size:
            return self._sparse(fd, path, status, own)
        self.notes.took(path, size)
        self._begin(path, status, own)
        return self._stream.content(fd, size)

    def _begin(self, path: bytes, status: os.stat_result, own: Attributes | None) -> None:
        blocks = None
        if own is None:
            blocks = headers.plain_file(path, _owner(status), status.st_size, status.st_mtime_ns)
        self._stream.header(
            blocks
            or headers.general(
                path,
                _owner(status),
                status.st_size,
                status.st_mtime_ns,
                extra=self._records(own, path),
            )
        )

    def _sparse(self, fd: int, path: bytes, status: os.stat_result, own: Attributes | None) -> bool:
        parts = data_parts(fd, status.st_size)
        data = sum(size for _, size in parts)
        self.notes.took(path, data)
        if status.st_size - data > HOLE_BYTES:
            return self._sparse_entry(fd, path, status, self._records(own, path), parts)
        self._begin(path, status, own)
        whole, at = True, 0
        for start, size in [*parts, (status.st_size, 0)]:
            self._stream.zeros(start - at)
            whole = self._stream.piece(fd, start, size) and whole
            at = start + size
        self._stream.zeros(headers.padding(status.st_size))
        return whole

    def _sparse_entry(
        self,
        fd: int,
        path: bytes,
        status: os.stat_result,
        records: Records,
        parts: list[tuple[int, int]],
    ) -> bool:
        """GNU tar's sparse form 1.0: a map of the data, then the data."""
        self.sparse.append((path, status.st_size))
        parts = parts or [(status.st_size, 0)]
        lines = [len(parts), *(number for part in parts for number in part)]
        table = b"".join(b"%d\n" % line for line in lines)
        table += bytes(headers.padding(len(table)))
        size = len(table) + sum(length for _, length in parts)
        records += [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", path),
            (b"GNU.sparse.realsize", b"%d" % status.st_size),
        ]
        inner = b"GNUSparseFile.0/" + path.rpartition(b"/")[2]
        self._stream.header(
            headers.general(inner, _owner(status), size, status.st_mtime_ns, extra=records)
        )
        self._stream.raw(table)
        whole = True
        for start, length in parts:
            whole = self._stream.piece(fd, start, length) and whole
        self._stream.zeros(headers.padding(size))
        return whole

    def _records(self, own: Attributes | None, path: bytes) -> Records:
        if own is None:
            return []
        refused: list[str] = []
        records = own.records(refused)
        if refused:
            self.notes.attributes(path, refused)
        return records


def data_parts(fd: int, size: int) -> list[tuple[int, int]]:
    """(start, length) of what is not a hole."""
    parts: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if at > start:
            parts.append((start, at - start))
    return parts


def _owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid


def _rest(kind: bytes) -> tuple[bytes, bytes, bytes]:
    return kind, b"", headers.device_fields(0, 0)


def _same(one: os.stat_result, two: os.stat_result) -> bool:
    return (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        two.st_ino,
        two.st_size,
        two.st_mtime_ns,
        two.st_ctime_ns,
    )
