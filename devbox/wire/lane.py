"""One lane of a session: numbering, replay, acknowledgement, streams and whose turn it is.

Sans-I/O: the edge gives frames to `receive`, takes frames from `next_frame` while its link has
room, and calls `attach` when a new link has greeted. Knows no clock and no websocket.
"""

import enum
from collections import deque
from typing import NamedTuple

from devbox.model.errors import Conflict, DevboxError
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import (
    CREDIT_PAYLOAD,
    LIMITS,
    MAX_ALONE,
    NUMBERED,
    Frame,
    Kind,
    Lane,
    Open,
    Reason,
    decode,
    encode,
    reason_of,
)
from devbox.wire.replay import Replay
from devbox.wire.states import StreamMove, StreamState
from devbox.wire.streams import StreamCore, error_of

_ACK_PART = 4


class EventKind(enum.Enum):
    """What a received frame meant."""

    OPENED = enum.auto()
    READABLE = enum.auto()
    WRITABLE = enum.auto()
    CLOSED = enum.auto()
    PONG = enum.auto()
    ACKNOWLEDGED = enum.auto()


class Event(NamedTuple):
    """For the edge; `token` is a PONG's."""

    kind: EventKind
    stream: StreamCore | None = None
    token: int = 0


class LaneCore:
    """Both sides of the conversation use the same one; only clients open streams."""

    def __init__(self, lane: Lane, *, opens: bool) -> None:
        self.lane = lane
        self._limits = LIMITS[lane]
        self._opens = opens
        self._streams: dict[int, StreamCore] = {}
        self._last_stream = 0
        self._replay = Replay(self._limits.replay)
        self._loose: dict[int, Frame] = {}
        self._control: deque[tuple[int, int, bytes]] = deque()
        self._ready: deque[StreamCore] = deque()
        self._unacknowledged = 0
        self.received = 0
        """The last number received."""

    # -- the application's side

    @property
    def streams(self) -> list[StreamCore]:
        """Streams not yet closed."""
        return list(self._streams.values())

    @property
    def kept_bytes(self) -> int:
        """Memory this lane holds: to be replayed, to be sent, to be read."""
        flows = sum(core.pending_bytes + core.buffered for core in self._streams.values())
        return self._replay.cost + flows

    @property
    def drained(self) -> bool:
        """Whether the peer has acknowledged all there was to send."""
        return self._replay.empty and not self._control and not self._ready

    def open(self, service: str, params: dict[str, object]) -> StreamCore:
        """Begin a stream. Raises Conflict when too many are open."""
        if len(self._streams) >= self._limits.streams:
            raise Conflict(
                f"{len(self._streams)} streams are open in one session, which is the limit",
                "Close some of them and try again.",
            )
        opening = Open(service=service, params=params)
        payload = encode(opening)
        self._last_stream += 1
        core = StreamCore(self._last_stream, opening, self._limits)
        self._streams[core.ident] = core
        self._control.append((Kind.OPEN, core.ident, payload))
        return core

    def send(self, core: StreamCore, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes of a stream. The caller bounds what is pending."""
        core.queue(data)
        self._wake(core)

    def end(self, core: StreamCore) -> None:
        """END follows what is pending. Nothing happens when it was said before."""
        if core.ending or not core.machine.can(StreamMove.SEND_END):
            return
        core.ending = True
        self._wake(core)

    def read(self, core: StreamCore, limit: int) -> bytes | memoryview | None:
        """As StreamCore.read, and give credit back."""
        data = core.read(limit)
        if data:
            self._give_credit(core)
        return data

    def _give_credit(self, core: StreamCore) -> None:
        if count := core.grant():
            self._control.append((Kind.CREDIT, core.ident, CREDIT_PAYLOAD.pack(count)))
            self._acknowledge()  # in the same packet: the peer forgets what it need not keep

    def finish(self, core: StreamCore) -> None:
        """Close cleanly: what is pending arrives, then END; what comes is dropped."""
        core.stop()
        self._give_credit(core)
        if core.machine.can(StreamMove.SEND_END):
            self.end(core)
        else:
            self.reset(core, None)

    def reset(self, core: StreamCore, error: DevboxError | None) -> None:
        """Close a stream at once. Nothing happens when it is closed already."""
        if not core.machine.can(StreamMove.SEND_RESET):
            return
        core.close(StreamMove.SEND_RESET, error)
        self._streams.pop(core.ident, None)
        self._control.append((Kind.RESET, core.ident, encode(reason_of(error))))

    def abandon(self, error: DevboxError | None) -> list[StreamCore]:
        """The session ended: close every stream; answers which."""
        closed = self.streams
        for core in closed:
            core.close(StreamMove.SESSION_ENDED, error)
        self._streams.clear()
        self._control.clear()
        self._ready.clear()
        return closed

    def _wake(self, core: StreamCore) -> None:
        if not core.queued and core.sendable:
            core.queued = True
            self._ready.append(core)

    # -- the link's side: out

    def attach(self, peer_received: int) -> None:
        """A new link: send again what the peer did not get. Raises ProtocolError."""
        self._replay.rewind(peer_received)
        self._loose.clear()
        self._unacknowledged = 0

    def ping(self, token: int) -> None:
        """Ask for a PONG and for an ACK."""
        self._loose[Kind.PING] = Frame(Kind.PING, 0, token, b"")

    def next_frame(self) -> Frame | None:
        """The next frame to send, or None. Streams take turns."""
        if self._unacknowledged * _ACK_PART >= self._limits.replay:
            self._acknowledge()
        if self._loose:
            return self._loose.pop(next(iter(self._loose)))
        if (frame := self._replay.again()) is not None:
            return frame
        if self._replay.full:
            return None
        if self._control:
            return self._replay.keep(*self._control.popleft())
        return self._next_of_streams()

    def _acknowledge(self) -> None:
        self._unacknowledged = 0
        self._loose[Kind.ACK] = Frame(Kind.ACK, 0, self.received, b"")

    def _next_of_streams(self) -> Frame | None:
        while self._ready:
            core = self._ready.popleft()
            core.queued = False
            if not core.sendable:
                continue
            if core.pending_bytes:
                frame = self._replay.keep(Kind.DATA, core.ident, core.take(self._chunk))
                self._wake(core)
                return frame
            return self._send_end(core)
        return None

    @property
    def _chunk(self) -> int:
        """A stream that is alone keeps nobody waiting."""
        return max(MAX_ALONE, self._limits.chunk) if len(self._streams) == 1 else self._limits.chunk

    def _send_end(self, core: StreamCore) -> Frame:
        core.ending = False
        frame = self._replay.keep(Kind.END, core.ident, b"")
        if core.machine.move(StreamMove.SEND_END) is StreamState.CLOSED:
            self._streams.pop(core.ident, None)
        elif core.stopping:
            self.reset(core, None)
        return frame

    # -- the link's side: in

    def receive(self, frame: Frame) -> Event | None:
        """Take one frame. Raises ProtocolError (ends the session) or LinkBroken (the link)."""
        if frame.kind in NUMBERED:
            return self._numbered(frame)
        if frame.kind == Kind.PING:
            self._loose[Kind.PONG] = Frame(Kind.PONG, 0, frame.number, b"")
            self._acknowledge()
            return None
        if frame.kind == Kind.PONG:
            return Event(EventKind.PONG, token=frame.number)
        if frame.kind == Kind.ACK:
            self._replay.acknowledge(frame.number)
            return Event(EventKind.ACKNOWLEDGED)
        raise ProtocolError(f"frame of kind {frame.kind} in the middle of a link")

    def _numbered(self, frame: Frame) -> Event | None:
        if frame.number <= self.received:
            return None
        if frame.number != self.received + 1:
            raise LinkBroken(f"frame {frame.number} came after {self.received}")
        self.received = frame.number
        self._unacknowledged += frame.cost
        if frame.kind == Kind.OPEN:
            return self._take_open(frame)
        core = self._streams.get(frame.stream)
        if core is None:
            self._check_past(frame.stream)
            return None
        if frame.kind == Kind.DATA:
            core.deliver(frame.payload)
            if core.stopping:
                self._give_credit(core)
            return Event(EventKind.READABLE, core)
        return self._take_control(core, frame)

    def _take_control(self, core: StreamCore, frame: Frame) -> Event:
        if frame.kind == Kind.CREDIT:
            return self._take_credit(core, frame.payload)
        if frame.kind == Kind.END:
            return self._take_end(core)
        reason = decode(frame.payload, Reason)
        core.close(StreamMove.TAKE_RESET, error_of(reason))
        del self._streams[core.ident]
        return Event(EventKind.CLOSED, core)

    def _check_past(self, ident: int) -> None:
        if not 0 < ident <= self._last_stream:
            raise ProtocolError(f"frame for stream {ident}, which was never opened")

    def _take_open(self, frame: Frame) -> Event:
        if self._opens:
            raise ProtocolError("the agent opened a stream")
        if frame.stream != self._last_stream + 1:
            raise ProtocolError(f"stream {frame.stream} was opened after {self._last_stream}")
        if len(self._streams) >= self._limits.streams:
            raise ProtocolError("too many streams in one lane")
        self._last_stream = frame.stream
        core = StreamCore(frame.stream, decode(frame.payload, Open), self._limits)
        self._streams[core.ident] = core
        return Event(EventKind.OPENED, core)

    def _take_credit(self, core: StreamCore, payload: bytes | memoryview) -> Event:
        if len(payload) != CREDIT_PAYLOAD.size:
            raise ProtocolError("malformed CREDIT")
        core.add_credit(CREDIT_PAYLOAD.unpack(payload)[0])
        self._wake(core)
        return Event(EventKind.WRITABLE, core)

    def _take_end(self, core: StreamCore) -> Event:
        if not core.machine.can(StreamMove.TAKE_END):
            raise ProtocolError(f"second END of stream {core.ident}")
        if core.machine.move(StreamMove.TAKE_END) is StreamState.CLOSED:
            self._streams.pop(core.ident, None)
        return Event(EventKind.READABLE, core)
