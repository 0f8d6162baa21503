"""Memory that bytes come into, handed on as views of it and used again when nobody looks any more.

Large payloads are never copied out of it. Whoever keeps a view for long keeps a whole block, so
what cannot be passed on at once is copied (`StreamCore.settle`). Knows no frame.
"""

from collections import deque

SMALL = 64 << 10
"""The first block of what may carry only keystrokes."""
LARGE = 1 << 20
VIEW_FROM = 64 << 10
"""Bytes from which on a view is worth what it holds in memory; less is copied."""
_KEPT = 8


class Blocks:
    """A reader's blocks. It writes to one; the older ones wait until their views are gone."""

    __slots__ = ("_used",)

    def __init__(self) -> None:
        self._used: deque[bytearray] = deque()

    def after(self, block: bytearray) -> bytearray:
        """A large block to go on with after `block`, which may still have views."""
        if len(block) == LARGE:
            self._used.append(block)
        if self._used and unused(self._used[0]):
            return self._used.popleft()
        if len(self._used) > _KEPT:
            self._used.popleft()  # it lives on for as long as its views do
        return bytearray(LARGE)


def unused(block: bytearray) -> bool:
    """Whether no view of a block is left: only then does Python let its size change."""
    try:
        block.append(block.pop())
    except BufferError:
        return False
    return True


class Inlet:
    """Where bytes that a lane is to send are read into."""

    __slots__ = ("_at", "_block", "_blocks")

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._block = bytearray()
        self._at = 0

    def room(self) -> memoryview:
        """Where to put the next bytes; never empty."""
        if not self._block:
            self._block = bytearray(SMALL)
        elif len(self._block) - self._at < len(self._block) // 4:
            self._block, self._at = self._blocks.after(self._block), 0
        return memoryview(self._block)[self._at :]

    def take(self, count: int) -> bytes | memoryview:
        """The first `count` bytes of `room()`. They do not change any more."""
        view = memoryview(self._block)[self._at : self._at + count]
        if count < VIEW_FROM:
            return bytes(view)
        self._at += count
        return view.toreadonly()
