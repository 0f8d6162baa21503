"""Numbered frames that the peer may not have yet. Bounded; knows no stream.

Invariant: `_kept` holds exactly the frames numbered `acknowledged + 1 .. last`, in order, and
`_again` is a tail of it: what the present link has not carried yet.
"""

from collections import deque

from devbox.wire.errors import ProtocolError
from devbox.wire.frames import Frame


class Replay:
    """The sender's memory of one lane."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[Frame] = deque()
        self._again: deque[Frame] = deque()
        self.last = 0
        """The last number given out."""
        self.cost = 0
        """Bytes kept, overhead included."""

    @property
    def full(self) -> bool:
        """Whether the next frame has to wait for an acknowledgement."""
        return self.cost >= self._limit

    @property
    def empty(self) -> bool:
        """Whether the peer has everything."""
        return not self._kept

    def keep(self, kind: int, stream: int, payload: bytes | memoryview) -> Frame:
        """Number a frame that is sent now."""
        self.last += 1
        frame = Frame(kind, stream, self.last, payload)
        self._kept.append(frame)
        self.cost += frame.cost
        return frame

    def acknowledge(self, number: int) -> bool:
        """Forget up to `number`; whether anything was forgotten. Raises ProtocolError."""
        if number > self.last:
            raise ProtocolError(f"frame {number} was acknowledged but never sent")
        before = self.cost
        while self._kept and self._kept[0].number <= number:
            self.cost -= self._kept.popleft().cost
        while self._again and self._again[0].number <= number:
            self._again.popleft()
        return self.cost != before

    def rewind(self, number: int) -> None:
        """A new link: all after `number` is to be sent again. Raises ProtocolError."""
        if number < self.last - len(self._kept):
            raise ProtocolError(f"the peer asks for frame {number + 1}, acknowledged before")
        self.acknowledge(number)
        self._again = deque(self._kept)

    def again(self) -> Frame | None:
        """The next frame to send again."""
        return self._again.popleft() if self._again else None
