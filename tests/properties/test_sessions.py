"""Whatever happens to links, both sides read exactly what the other wrote, each byte once.

Two lanes, and links of real bytes between them: websocket messages in any chunks, cut anywhere;
dials that are repeated because an answer was lost; greetings that come late; bytes of a link that
was given up and arrive all the same.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devbox.wire.errors import LinkBroken
from devbox.wire.frames import Frame, Lane, pack_header
from devbox.wire.lane import EventKind, LaneCore
from devbox.wire.reader import LinkReader
from devbox.wire.states import StreamState
from devbox.wire.streams import StreamCore
from devbox.wire.websocket import BINARY, apply_mask
from devbox.wire.websocket import pack_header as message_header

KEY = b"\x01\x80\xfe\x37"
STREAMS = 3


@dataclass
class Side:
    """A lane, what its application wrote and read, and the link it believes in."""

    core: LaneCore
    masks: bool
    streams: dict[int, StreamCore] = field(default_factory=dict)
    wrote: dict[int, bytes] = field(default_factory=dict)
    read: dict[int, bytes] = field(default_factory=dict)
    link: "Pipe | None" = None

    def take(self, frame: Frame) -> None:
        event = self.core.receive(frame)
        if event is not None and event.kind is EventKind.OPENED:
            assert event.stream is not None
            self.streams[event.stream.params["at"]] = event.stream

    def read_all(self) -> None:
        for at, stream in self.streams.items():
            while data := self.core.read(stream, 777):
                self.read[at] = self.read.get(at, b"") + data

    def write(self, at: int, data: bytes) -> None:
        stream = self.streams.get(at)
        open_here = {StreamState.OPEN, StreamState.THEY_ENDED}
        if stream is not None and not stream.ending and stream.machine.state in open_here:
            self.core.send(stream, data)
            self.wrote[at] = self.wrote.get(at, b"") + data


class Pipe:
    """A link's bytes in one direction, from one side to the other."""

    def __init__(self, source: Side, sink: Side) -> None:
        self.source, self.sink = source, sink
        self.wire = bytearray()
        self.reader = LinkReader(masked=source.masks)
        self.broken = False

    def fill(self, frames: int) -> None:
        """The source's socket has room for so many frames."""
        while frames > 0 and (frame := self.source.core.next_frame()) is not None:
            body = pack_header(frame) + bytes(frame.payload)
            key = KEY if self.source.masks else b""
            masked = apply_mask(body, key) if key else body
            self.wire += message_header(BINARY, len(body), key) + masked
            frames -= 1

    def carry(self, count: int) -> None:
        """So many bytes arrive."""
        data = bytes(self.wire[:count])
        del self.wire[:count]
        try:
            for frame in self.reader.feed(data) if not self.broken else ():
                assert isinstance(frame, Frame)
                self.sink.take(frame)
        except LinkBroken:
            self.broken = True


class World:
    """A client, an agent, and what is between."""

    def __init__(self) -> None:
        self.client = Side(LaneCore(Lane.INTERACTIVE, opens=True), masks=True)
        self.agent = Side(LaneCore(Lane.INTERACTIVE, opens=False), masks=False)
        self.given_up: list[Pipe] = []
        for at in range(STREAMS):
            self.client.streams[at] = self.client.core.open("s", {"at": at})
        self.dial(False)

    def write(self, at: int, data: bytes) -> None:
        """The client's application."""
        self.client.write(at, data)

    def answer(self, at: int, data: bytes) -> None:
        """The agent's."""
        self.agent.write(at, data)

    def end(self, at: int, ours: bool) -> None:
        """One of them has said all."""
        side = self.side(ours)
        if at in side.streams:
            side.core.end(side.streams[at])

    def read(self, ours: bool) -> None:
        """One of them reads, which gives credit."""
        self.side(ours).read_all()

    def ping(self, ours: bool) -> None:
        """One of them wants a word."""
        self.side(ours).core.ping(7)

    def side(self, ours: bool) -> Side:
        return self.client if ours else self.agent

    def dial(self, lost: bool) -> None:
        """HELLO arrives and the agent's side begins; the WELCOME may be lost on the way."""
        self.cut()
        hello = self.client.core.received
        self.agent.core.attach(hello)
        self.agent.link = Pipe(self.agent, self.client)
        if not lost:
            self.client.core.attach(self.agent.core.received)
            self.client.link = Pipe(self.client, self.agent)

    def cut(self) -> None:
        """The client's side is lost; the agent may go on writing to nobody for a while."""
        for side in (self.client, self.agent):
            if side.link is not None:
                self.given_up.append(side.link)
            side.link = None

    def flow(self, frames: int, count: int) -> None:
        """Some bytes move both ways; a link that makes no sense is dialled again."""
        for side in (self.client, self.agent):
            if side.link is not None:
                side.link.fill(frames)
        if self.client.link is not None and self.agent.link is not None:
            self.client.link.carry(count)
            self.agent.link.carry(count)
            if self.client.link.broken or self.agent.link.broken:
                self.dial(False)

    def late(self, count: int) -> None:
        """Bytes of the link that was given up last arrive where nobody expects them any more.

        At the agent only: a client looks at nothing of a link that it gave up.
        """
        ghosts = [pipe for pipe in self.given_up if pipe.sink is self.agent]
        if ghosts:
            ghosts[-1].carry(count)

    def settle(self) -> None:
        """Everything that can flow flows."""
        self.dial(False)
        for _ in range(400):
            self.flow(100, 1 << 20)
            self.client.read_all()
            self.agent.read_all()
            if self.client.core.drained and self.agent.core.drained:
                return
            for side in (self.client, self.agent):
                side.core.ping(1)
        raise AssertionError("it never comes to rest")


at = st.integers(0, STREAMS - 1)
step = st.one_of(
    st.tuples(st.just("write"), at, st.binary(min_size=1, max_size=400)),
    st.tuples(st.just("write"), at, st.integers(1, 90_000).map(bytes)),
    st.tuples(st.just("answer"), at, st.integers(1, 90_000).map(lambda size: b"a" * size)),
    st.tuples(st.just("end"), at, st.booleans()),
    st.tuples(st.just("flow"), st.integers(1, 20), st.integers(1, 120_000)),
    st.tuples(st.just("flow"), st.integers(1, 3), st.integers(1, 40)),
    st.tuples(st.just("dial"), st.booleans()),
    st.tuples(st.just("cut")),
    st.tuples(st.just("late"), st.integers(1, 100_000)),
    st.tuples(st.just("read"), st.booleans()),
    st.tuples(st.just("ping"), st.booleans()),
)


def check(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    for what, *arguments in steps:
        getattr(world, what)(*arguments)
        assert world.client.core.kept_bytes < 8 << 20
        assert world.agent.core.kept_bytes < 8 << 20
    world.settle()
    assert world.agent.read == world.client.wrote
    assert world.client.read == world.agent.wrote


@settings(max_examples=120, deadline=None)
@given(st.lists(step, max_size=40))
def test_exact_bytes_whatever_happens_to_links(steps: list[tuple[Any, ...]]) -> None:
    check(steps)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None)
@given(st.lists(step, max_size=120))
def test_exact_bytes_at_length(steps: list[tuple[Any, ...]]) -> None:
    check(steps)
