"""Unix sockets to listen on. Owns who may use one, and what a dead listener left behind."""

import errno
import os
import socket
import stat
from contextlib import closing

_PRIVATE_MASK = 0o177


def bind_private(path: str) -> socket.socket:
    """A socket bound to `path`, for this user alone (mode 0600), not listening yet.

    One that nobody listens on any more is replaced. Raises OSError; EADDRINUSE where anything else
    lies there. Changes the umask for a moment: for processes with one thread that makes files.
    """
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_PRIVATE_MASK)
    try:
        made.bind(path)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _clear(path: str) -> None:
    """Remove a dead listener's socket."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISSOCK(kind) and not _answers(path):
        os.unlink(path)
        return
    raise OSError(errno.EADDRINUSE, "it exists already", path)


def _answers(path: str) -> bool:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        # A listener whose queue is full answers EAGAIN.
        return probe.connect_ex(path) != errno.ECONNREFUSED
