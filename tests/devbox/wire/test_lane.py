"""Two lanes joined by a link that dies at any frame: the exact bytes arrive, once."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devbox.model.errors import Conflict, DevboxError, Unavailable
from devbox.wire.errors import IllegalMove, LinkBroken, ProtocolError
from devbox.wire.frames import (
    CREDIT_PAYLOAD,
    LIMITS,
    MAX_ALONE,
    Frame,
    Kind,
    Lane,
    Open,
    encode,
)
from devbox.wire.lane import EventKind, LaneCore
from devbox.wire.states import StreamMove, StreamState
from devbox.wire.streams import StreamCore


class Wire:
    """A client's and an agent's lane, and how much of what was sent arrives."""

    def __init__(self, lane: Lane = Lane.INTERACTIVE) -> None:
        self.client = LaneCore(lane, opens=True)
        self.agent = LaneCore(lane, opens=False)
        self.opened: list[StreamCore] = []
        self.closed: list[StreamCore] = []

    def link(self) -> None:
        self.client.attach(self.agent.received)
        self.agent.attach(self.client.received)

    def move(self, frames: int = 10_000) -> int:
        """Carry frames both ways until quiet, at most `frames`; answers how many it carried."""
        moved = 0
        while moved < frames:
            before = moved
            for source, sink in ((self.client, self.agent), (self.agent, self.client)):
                if moved < frames and (frame := source.next_frame()) is not None:
                    moved += 1
                    self.give(sink, frame)
            if moved == before:
                break
        return moved

    def give(self, sink: LaneCore, frame: Frame) -> None:
        event = sink.receive(frame)
        if event is not None and event.stream is not None:
            if event.kind is EventKind.OPENED:
                self.opened.append(event.stream)
            elif event.kind is EventKind.CLOSED:
                self.closed.append(event.stream)


def read_all(lane: LaneCore, core: StreamCore) -> bytes:
    parts = []
    while data := lane.read(core, 1000):
        parts.append(data)
    return b"".join(parts)


def test_a_stream_from_opening_to_end() -> None:
    wire = Wire()
    wire.link()
    mine = wire.client.open("echo", {"x": 1})
    wire.client.send(mine, b"question")
    wire.client.end(mine)
    wire.move()
    (theirs,) = wire.opened
    assert (theirs.service, theirs.params) == ("echo", {"x": 1})
    assert [wire.agent.read(theirs, 3) for _ in range(4)] == [b"que", b"sti", b"on", b""]
    wire.agent.send(theirs, b"answer")
    assert wire.client.read(mine, 100) is None
    wire.agent.end(theirs)
    wire.move()
    assert wire.client.read(mine, 100) == b"answer"
    assert wire.client.read(mine, 100) == b""
    assert wire.client.streams == wire.agent.streams == []


chunks = st.lists(st.binary(min_size=1, max_size=90_000), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(chunks, min_size=1, max_size=3), st.lists(st.integers(0, 30), max_size=30))
def test_any_cut_gives_the_exact_bytes(flows: list[list[bytes]], cuts: list[int]) -> None:
    """After each budget the link dies with what is under way; then everything flows."""
    wire = Wire()
    streams = [wire.client.open("s", {"at": at}) for at in range(len(flows))]
    for core, parts in zip(streams, flows, strict=True):
        for part in parts:
            wire.client.send(core, part)
        wire.client.end(core)
    got = dict.fromkeys(range(len(flows)), b"")
    for budget in [*cuts, *[10_000] * 20]:
        wire.link()
        wire.move(budget)
        for _ in range(budget % 4):
            wire.client.next_frame()
            wire.agent.next_frame()
        for core in wire.opened:
            got[core.params["at"]] += read_all(wire.agent, core)
    assert got == {at: b"".join(parts) for at, parts in enumerate(flows)}
    assert all(wire.agent.read(core, 1) == b"" for core in wire.opened)


def test_a_duplicate_is_dropped_and_a_gap_breaks_the_link() -> None:
    wire = Wire()
    wire.link()
    core = wire.client.open("s", {})
    wire.client.send(core, b"a")
    opening, data = wire.client.next_frame(), wire.client.next_frame()
    assert opening is not None
    assert data is not None
    with pytest.raises(LinkBroken, match="frame 2 came after 0"):
        wire.agent.receive(data)
    wire.give(wire.agent, opening)
    wire.give(wire.agent, data)
    wire.give(wire.agent, data)
    assert wire.agent.read(wire.opened[0], 10) == b"a"
    assert wire.agent.read(wire.opened[0], 10) is None


def test_streams_take_turns() -> None:
    wire = Wire()
    wire.link()
    one, two = wire.client.open("a", {}), wire.client.open("b", {})
    wire.client.send(one, bytes(200_000))
    wire.client.send(two, b"key")
    order = [frame.stream for frame in iter(wire.client.next_frame, None)]
    assert order[:5] == [1, 2, 1, 2, 1]


def test_credit_bounds_what_is_under_way() -> None:
    wire = Wire()
    wire.link()
    window = LIMITS[Lane.INTERACTIVE].window
    core = wire.client.open("s", {})
    wire.client.send(core, bytes(window + 5))
    wire.move()
    assert (core.pending_bytes, wire.opened[0].buffered) == (5, window)
    read_all(wire.agent, wire.opened[0])
    wire.move()
    assert core.pending_bytes == 0


def test_a_full_replay_buffer_makes_writers_wait() -> None:
    wire = Wire()
    wire.link()
    limit, streams = LIMITS[Lane.INTERACTIVE].replay, 16
    for _ in range(streams):
        wire.client.send(wire.client.open("s", {}), bytes(250_000))
    sent = sum(len(frame.payload) for frame in iter(wire.client.next_frame, None))
    assert limit - 64_000 < sent < limit + 64_000
    wire.link()
    wire.move()
    assert sum(core.buffered for core in wire.opened) == streams * 250_000


def test_too_many_streams() -> None:
    wire = Wire(Lane.BULK)
    for _ in range(LIMITS[Lane.BULK].streams):
        wire.client.open("s", {})
    with pytest.raises(Conflict, match="64 streams"):
        wire.client.open("s", {})


def test_a_clean_close_delivers_what_was_written_and_drops_what_comes() -> None:
    wire = Wire()
    wire.link()
    core = wire.client.open("s", {})
    wire.client.send(core, b"last words")
    wire.client.finish(core)
    wire.move()
    (theirs,) = wire.opened
    assert wire.agent.read(theirs, 100) == b"last words"
    assert wire.agent.read(theirs, 100) == b""
    with pytest.raises(Unavailable, match="closed"):
        wire.agent.send(theirs, b"x")
    assert wire.client.streams == wire.agent.streams == []


def test_closing_frees_a_peer_that_waits_for_credit() -> None:
    """The peer reads only after its own long write: its write must not wait for ever."""
    wire = Wire()
    wire.link()
    window = LIMITS[Lane.INTERACTIVE].window
    core = wire.client.open("s", {})
    wire.client.send(core, bytes(window * 2))
    wire.move()
    (theirs,) = wire.opened
    wire.agent.send(theirs, bytes(window * 3))
    wire.move()
    assert theirs.pending_bytes > 0
    wire.client.finish(core)
    wire.move()
    assert theirs.pending_bytes == 0
    got = 0
    for _ in range(4):
        got += len(read_all(wire.agent, theirs))
        wire.move()
    assert got == window * 2


def test_an_error_comes_after_the_bytes_before_it() -> None:
    wire = Wire()
    wire.link()
    core = wire.client.open("s", {})
    wire.move()
    wire.agent.send(wire.opened[0], b"so far")
    wire.move()
    wire.agent.reset(wire.opened[0], Conflict("no further", "Turn back."))
    wire.move()
    assert wire.client.read(core, 100) == b"so far"
    with pytest.raises(Conflict, match="no further") as caught:
        wire.client.read(core, 100)
    assert caught.value.hint == "Turn back."


def test_frames_under_way_to_a_stream_that_was_reset_are_dropped() -> None:
    wire = Wire()
    wire.link()
    core = wire.client.open("s", {})
    wire.move()
    wire.agent.send(wire.opened[0], b"late")
    late = wire.agent.next_frame()
    assert late is not None
    wire.client.reset(core, None)
    wire.give(wire.client, late)
    wire.move()
    assert wire.agent.streams == []


opening = encode(Open(service="s"))


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(Kind.DATA, 1, 1, b"x")],
        [Frame(Kind.OPEN, 2, 1, opening)],
        [Frame(Kind.OPEN, 1, 1, b"{")],
        [Frame(Kind.OPEN, 1, 1, opening), Frame(Kind.OPEN, 1, 2, opening)],
        [Frame(Kind.OPEN, 1, 1, opening), Frame(Kind.CREDIT, 1, 2, CREDIT_PAYLOAD.pack(1))],
        [Frame(Kind.OPEN, 1, 1, opening), Frame(Kind.CREDIT, 1, 2, b"xyz")],
        [Frame(Kind.OPEN, 1, 1, opening), Frame(Kind.RESET, 1, 2, b"[]")],
        [Frame(Kind.OPEN, 1, 1, opening)] + [Frame(Kind.END, 1, n, b"") for n in (2, 3)],
        [
            Frame(Kind.OPEN, 1, 1, opening),
            Frame(Kind.END, 1, 2, b""),
            Frame(Kind.DATA, 1, 3, b"x"),
        ],
        [Frame(Kind.OPEN, 1, 1, opening)]
        + [Frame(Kind.DATA, 1, number, bytes(200_000)) for number in (2, 3, 4)],
        [Frame(Kind.ACK, 0, 5, b"")],
        [Frame(Kind.HELLO, 0, 0, b"{}")],
    ],
    ids=[
        "data before OPEN",
        "a stream skipped",
        "OPEN with bad JSON",
        "OPEN twice",
        "credit over the window",
        "credit of three bytes",
        "RESET of the wrong shape",
        "END twice",
        "data after END",
        "data over the credit",
        "ACK of what was not sent",
        "HELLO in the middle",
    ],
)
def test_a_peer_that_breaks_the_protocol(frames: list[Frame]) -> None:
    agent = LaneCore(Lane.INTERACTIVE, opens=False)
    for frame in frames[:-1]:
        agent.receive(frame)
    with pytest.raises(ProtocolError):
        agent.receive(frames[-1])


def test_a_peer_that_forgot_what_it_acknowledged() -> None:
    wire = Wire()
    wire.link()
    wire.client.open("s", {})
    wire.move()
    wire.client.ping(1)
    wire.move()
    assert wire.client.drained
    with pytest.raises(ProtocolError, match="acknowledged before"):
        wire.client.attach(0)


def test_abandoned_streams_raise_why() -> None:
    wire = Wire()
    core = wire.client.open("s", {})
    wire.client.abandon(Unavailable("gone"))
    with pytest.raises(DevboxError, match="gone"):
        wire.client.read(core, 1)
    with pytest.raises(DevboxError, match="gone"):
        wire.client.send(core, b"x")


def test_an_illegal_move_changes_nothing() -> None:
    core = StreamCore(1, Open(service="s"), LIMITS[Lane.BULK])
    core.machine.move(StreamMove.SEND_END)
    with pytest.raises(IllegalMove, match="no move 'send END' in 'we ended'"):
        core.machine.move(StreamMove.SEND_END)
    assert core.machine.state is StreamState.WE_ENDED


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            Frame,
            kind=st.integers(3, 11),
            stream=st.integers(0, 3),
            number=st.integers(0, 6),
            payload=st.sampled_from([b"", opening, b"x" * 4, b"\0\0\0\1", b"{}"]),
        ),
        max_size=12,
    )
)
def test_random_frames_give_one_clear_error_or_none(frames: list[Frame]) -> None:
    agent = LaneCore(Lane.INTERACTIVE, opens=False)
    with contextlib.suppress(ProtocolError, LinkBroken):
        for frame in frames:
            agent.receive(frame)
    assert all(core.buffered <= LIMITS[Lane.INTERACTIVE].window for core in agent.streams)


def test_a_stream_that_is_alone_sends_more_at_a_time() -> None:
    wire = Wire()
    wire.link()
    one = wire.client.open("s", {})
    wire.client.send(one, bytes(300_000))
    assert wire.client.next_frame() is not None  # OPEN
    alone = wire.client.next_frame()
    assert alone is not None
    assert len(alone.payload) == MAX_ALONE
    wire.client.open("s", {})
    assert wire.client.next_frame() is not None
    beside = wire.client.next_frame()
    assert beside is not None
    assert len(beside.payload) == LIMITS[Lane.INTERACTIVE].chunk
