"""Bytes both ways between two sockets, moved by the kernel (splice(2)).

Invariant of each direction: either nothing is held and the source is watched, or something is
held in a pipe, the source is not watched and the sink is. So a slow reader holds one pipe and
stops its sender, and an idle link holds no pipe at all.

Ends are passed on as they come: a FIN as a FIN once all is through, a reset as a reset.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable

_PIPE_BYTES = 1 << 20
_COPY_BYTES = 256 << 10
_ROUNDS = 4
"""Times that one direction may move bytes before others get their turn."""
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
HALF_CLOSED_S = 60.0


class Pipe:
    """A pipe that holds bytes on their way."""

    __slots__ = ("held", "reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        with contextlib.suppress(OSError):  # over the user's pipe quota: 64 KiB will do
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def fill(self, source: socket.socket) -> int:
        """Take what there is; 0 is the end. Raises BlockingIOError when nothing is there."""
        self.held = os.splice(source.fileno(), self.writer, _PIPE_BYTES, flags=_FLAGS)
        return self.held

    def drain(self, sink: socket.socket) -> None:
        """Give all that is held. Raises BlockingIOError when the sink takes no more."""
        while self.held:
            self.held -= os.splice(self.reader, sink.fileno(), self.held, flags=_FLAGS)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.reader)
        os.close(self.writer)


class Copy:
    """Stands in for a pipe when there are no more to be had."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = memoryview(b"")

    @property
    def held(self) -> int:
        """Bytes on their way."""
        return len(self._bytes)

    def fill(self, source: socket.socket) -> int:
        """Take what there is; 0 is the end. Raises BlockingIOError when nothing is there."""
        self._bytes = memoryview(source.recv(_COPY_BYTES))
        return len(self._bytes)

    def drain(self, sink: socket.socket) -> None:
        """Give all that is held. Raises BlockingIOError when the sink takes no more."""
        while self._bytes:
            self._bytes = self._bytes[sink.send(self._bytes) :]

    def close(self) -> None:
        """Nothing to give back."""


class Pipes:
    """Empty pipes for whoever needs one now. `most` bounds those in use and in store."""

    def __init__(self, most: int = 512, store: int = 16) -> None:
        self._most = most
        self._store = store
        self._idle: list[Pipe] = []
        self._made = 0

    def take(self) -> Pipe | Copy:
        """An empty pipe."""
        if self._idle:
            return self._idle.pop()
        if self._made >= self._most:
            return Copy()
        try:
            pipe = Pipe()
        except OSError:
            return Copy()
        self._made += 1
        return pipe

    def give(self, pipe: Pipe | Copy) -> None:
        """Give a pipe back; one that still holds bytes is closed."""
        if isinstance(pipe, Copy):
            return
        if pipe.held or len(self._idle) >= self._store:
            self._made -= 1
            pipe.close()
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the store."""
        while self._idle:
            self._made -= 1
            self._idle.pop().close()


class _Half:
    """One direction."""

    __slots__ = ("_link", "_pipe", "_sink", "_source", "ended", "moved")

    def __init__(self, link: "SplicedLink", source: socket.socket, sink: socket.socket) -> None:
        self._link = link
        self._source = source
        self._sink = sink
        self._pipe: Pipe | Copy | None = None
        self.ended = False
        self.moved = 0

    @property
    def held(self) -> int:
        """Bytes on their way."""
        return self._pipe.held if self._pipe is not None else 0

    def watch(self) -> None:
        """Wait for the source."""
        self._link.loop.add_reader(self._source.fileno(), self._readable)

    def _readable(self) -> None:
        pipe = self._link.pipes.take()
        try:
            for _ in range(_ROUNDS):
                count = pipe.fill(self._source)
                if not count:
                    self._end()
                    break
                self.moved += count
                pipe.drain(self._sink)
        except BlockingIOError:
            if pipe.held:
                self._hold(pipe)
                return
        except OSError:
            self._link.abort()
        self._link.pipes.give(pipe)

    def _hold(self, pipe: Pipe | Copy) -> None:
        self._pipe = pipe
        self._link.loop.remove_reader(self._source.fileno())
        self._link.loop.add_writer(self._sink.fileno(), self._writable)

    def _writable(self) -> None:
        pipe = self._pipe
        if pipe is None:
            return
        try:
            pipe.drain(self._sink)
        except BlockingIOError:
            return
        except OSError:
            self._link.abort()
            return
        self._pipe = None
        self._link.pipes.give(pipe)
        self._link.loop.remove_writer(self._sink.fileno())
        self.watch()

    def _end(self) -> None:
        self.ended = True
        self._link.loop.remove_reader(self._source.fileno())
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)
        self._link.half_ended()

    def drop(self) -> None:
        """Watch nothing any more."""
        if self._pipe is not None:
            self._link.pipes.give(self._pipe)
            self._pipe = None


class SplicedLink:
    """Two connected, non-blocking TCP sockets, joined until both ended. Owns them."""

    __slots__ = (
        "_a",
        "_b",
        "_closed",
        "_gone",
        "_halves",
        "_linger",
        "_seen",
        "loop",
        "pipes",
    )

    def __init__(self, client: socket.socket, box: socket.socket, pipes: Pipes) -> None:
        self.loop = asyncio.get_running_loop()
        self.pipes = pipes
        self._a, self._b = client, box
        self._halves = (_Half(self, client, box), _Half(self, box, client))
        self._gone: Callable[[], None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._seen = -1
        self._closed = False

    def start(self, gone: Callable[[], None]) -> None:
        """Begin; `gone` is called once, at the end."""
        self._gone = gone
        for half in self._halves:
            half.watch()

    @property
    def moved(self) -> int:
        """Bytes of both directions."""
        return sum(half.moved for half in self._halves)

    @property
    def held(self) -> int:
        """Bytes taken from one side and not yet given to the other."""
        return sum(half.held for half in self._halves)

    def half_ended(self) -> None:
        """One direction is through."""
        if all(half.ended for half in self._halves):
            self._close()
        elif self._linger is None:
            self._watch_half_closed()

    def _watch_half_closed(self) -> None:
        if self._seen == self.moved:
            self.abort()
            return
        self._seen = self.moved
        self._linger = self.loop.call_later(HALF_CLOSED_S, self._watch_half_closed)

    def abort(self) -> None:
        """Reset both sides: nothing more comes or goes."""
        if not self._closed:
            for side in (self._a, self._b):
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._linger is not None:
            self._linger.cancel()
        for side in (self._a, self._b):
            self.loop.remove_reader(side.fileno())
            self.loop.remove_writer(side.fileno())
        for half in self._halves:
            half.drop()
        self._a.close()
        self._b.close()
        if self._gone is not None:
            self._gone()
