"""Tells what changes in an upper while it is copied.

Two kernel interfaces together see everything but writes through mappings: fanotify(7) on the box's
overlay sees writes to files, by the path that the box uses; inotify(7) on the upper's directories
sees names that come and go, and changed owners, modes and attributes. A lost event is never passed
over: `lost` says that only a walk can tell.
"""

import contextlib
import ctypes
import os
import struct
from dataclasses import dataclass, field

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.fanotify_mark.argtypes = [
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.c_uint64,
    ctypes.c_int,
    ctypes.c_char_p,
]
_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_FAN_MARK_ADD, _FAN_MARK_FILESYSTEM = 0x1, 0x100
_FAN_MODIFY, _FAN_Q_OVERFLOW = 0x2, 0x4000
_AT_FDCWD = -100
_FAN_EVENT = struct.Struct("=IBBHQii")
_IN_MODIFY, _IN_ATTRIB, _IN_MOVED_FROM, _IN_MOVED_TO = 0x2, 0x4, 0x40, 0x80
_IN_CREATE, _IN_DELETE, _IN_Q_OVERFLOW, _IN_IGNORED = 0x100, 0x200, 0x4000, 0x8000
_IN_MASK = _IN_MODIFY | _IN_ATTRIB | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_IN_EVENT = struct.Struct("=iIII")
_IN_BYTES = 1 << 18
_FAN_BYTES = _FAN_EVENT.size * 512
"""Each event brings an open file, so few at once."""
_DRAIN_EVERY = 256
_DELETED = b" (deleted)"


@dataclass
class Changed:
    """Paths below the root. A `fresh` one is new with all below it; a `touched` one only itself."""

    touched: set[bytes] = field(default_factory=set)
    fresh: set[bytes] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.touched | self.fresh)


class Watch:
    """From its making until it is closed. `directory` adds one directory of the upper."""

    def __init__(self, box_pid: int | None) -> None:
        self.lost = box_pid is None
        self._paths: dict[int, bytes] = {}
        self._changed = Changed()
        self._inotify = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._fanotify = _LIBC.fanotify_init(
            _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_UNLIMITED_QUEUE,
            os.O_RDONLY | os.O_CLOEXEC | os.O_LARGEFILE,
        )
        if self._inotify < 0 or self._fanotify < 0:
            self.lost = True
        elif box_pid is not None:
            self._mark(f"/proc/{box_pid}/root")

    def _mark(self, root: str) -> None:
        how = _FAN_MARK_ADD | _FAN_MARK_FILESYSTEM
        if _LIBC.fanotify_mark(self._fanotify, how, _FAN_MODIFY, _AT_FDCWD, root.encode()):
            self.lost = True

    def directory(self, fd: int, path: bytes) -> None:
        """Watch an open directory; call it before its names are read."""
        if self.lost:
            return
        number = _LIBC.inotify_add_watch(self._inotify, b"/proc/self/fd/%d" % fd, _IN_MASK)
        if number < 0:
            self.lost = True
        else:
            self._paths[number] = path
        if not len(self._paths) % _DRAIN_EVERY:
            self._read_all()

    def drain(self) -> Changed:
        """What changed since the last call."""
        self._read_all()
        changed, self._changed = self._changed, Changed()
        return changed

    def _read_all(self) -> None:
        self._written(self._changed)
        self._renamed(self._changed)

    def close(self) -> None:
        """End it."""
        for fd in (self._inotify, self._fanotify):
            if fd >= 0:
                os.close(fd)
        self._inotify = self._fanotify = -1

    def _written(self, changed: Changed) -> None:
        while data := _read(self._fanotify, _FAN_BYTES):
            at = 0
            while at < len(data):
                size, _, _, _, mask, fd, _ = _FAN_EVENT.unpack_from(data, at)
                at += size
                if mask & _FAN_Q_OVERFLOW or fd < 0:
                    self.lost = True
                    continue
                path = os.fsencode(os.readlink(f"/proc/self/fd/{fd}"))
                os.close(fd)
                if not path.endswith(_DELETED):
                    changed.touched.add(path.lstrip(b"/"))

    def _renamed(self, changed: Changed) -> None:
        while data := _read(self._inotify, _IN_BYTES):
            at = 0
            while at < len(data):
                number, mask, _, size = _IN_EVENT.unpack_from(data, at)
                name = data[at + _IN_EVENT.size : at + _IN_EVENT.size + size].rstrip(b"\0")
                at += _IN_EVENT.size + size
                self._event(changed, number, mask, name)

    def _event(self, changed: Changed, number: int, mask: int, name: bytes) -> None:
        if mask & _IN_Q_OVERFLOW:
            self.lost = True
        parent = self._paths.get(number)
        if parent is None or mask & _IN_IGNORED:
            return
        path = (parent + b"/" + name if parent else name) if name else parent
        new = mask & (_IN_CREATE | _IN_MOVED_TO)
        (changed.fresh if new else changed.touched).add(path)
        if mask & ~(_IN_MODIFY | _IN_ATTRIB):
            changed.touched.add(parent)


def _read(fd: int, limit: int) -> bytes:
    if fd < 0:
        return b""
    with contextlib.suppress(BlockingIOError):
        return os.read(fd, limit)
    return b""
