"""The parser of a link's bytes: any chunking, any message boundaries, any nonsense."""

import contextlib

import pytest
import websockets.speedups as speedups
from hypothesis import given, settings
from hypothesis import strategies as st

from devbox.wire.blocks import VIEW_FROM, Inlet
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import MAX_CONTROL, MAX_DATA, Frame, Kind, pack_header
from devbox.wire.reader import Control, LinkReader
from devbox.wire.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, apply_mask
from devbox.wire.websocket import pack_header as message_header

KEY = b"\x01\x80\xfe\x37"


def message(payload: bytes, key: bytes, opcode: int = BINARY) -> bytes:
    body = apply_mask(payload, key) if key else payload
    return message_header(opcode, len(payload), key) + body


def flat(frame: Frame) -> bytes:
    return pack_header(frame) + bytes(frame.payload)


frames_strategy = st.lists(
    st.builds(
        Frame,
        kind=st.sampled_from([Kind.DATA, Kind.OPEN, Kind.ACK]).map(int),
        stream=st.integers(0, 2**32 - 1),
        number=st.integers(0, 2**64 - 1),
        payload=st.binary(max_size=300),
    ),
    max_size=8,
)


@pytest.mark.parametrize("key", [b"", KEY], ids=["from agent", "from client"])
@pytest.mark.parametrize("size", [0, 1, 109, 110, 125, 126, 65519, 65520, 65536, MAX_DATA], ids=str)
def test_every_length_form(key: bytes, size: int) -> None:
    frame = Frame(Kind.DATA, 7, 9, bytes(range(256)) * (size // 256) + bytes(size % 256))
    reader = LinkReader(masked=bool(key))
    assert reader.feed(message(flat(frame), key)) == [frame]


@settings(max_examples=100, deadline=None)
@given(frames_strategy, st.data(), st.booleans())
def test_boundaries_mean_nothing(frames: list[Frame], data: st.DataObject, masked: bool) -> None:
    """However an intermediary splits messages and TCP splits bytes, the same frames come out."""
    key = KEY if masked else b""
    stream = b"".join(map(flat, frames))
    wire = b""
    while stream:
        size = data.draw(st.integers(1, min(len(stream), 400)))
        wire += message(stream[:size], key, data.draw(st.sampled_from([BINARY, CONTINUATION])))
        wire += data.draw(st.sampled_from([b"", message(b"", key, PONG)]))
        stream = stream[size:]
    reader, found = LinkReader(masked=masked), []
    while wire:
        size = data.draw(st.integers(1, min(len(wire), 500)))
        found += reader.feed(wire[:size])
        wire = wire[size:]
    assert found == frames


@pytest.mark.parametrize("key", [b"", KEY], ids=["from agent", "from client"])
def test_one_byte_at_a_time(key: bytes) -> None:
    frames = [
        Frame(Kind.HELLO, 0, 0, b"{}"),
        Frame(Kind.DATA, 1, 1, b"x" * 300),
        Frame(Kind.PING, 0, 5, b""),
    ]
    wire = b"".join(message(flat(frame), key) for frame in frames)
    reader = LinkReader(masked=bool(key))
    found = [one for at in range(len(wire)) for one in reader.feed(wire[at : at + 1])]
    assert found == frames


def test_one_message_far_longer_than_the_buffer() -> None:
    frames = [Frame(Kind.DATA, 1, number, bytes([number]) * MAX_DATA) for number in range(1, 9)]
    reader = LinkReader(masked=True)
    assert reader.feed(message(b"".join(map(flat, frames)), KEY)) == frames


def test_many_frames_through_a_buffer_that_wraps() -> None:
    frames = [Frame(Kind.DATA, 1, n, bytes([n % 251]) * (n * 997 % MAX_DATA)) for n in range(40)]
    reader = LinkReader(masked=True)
    assert reader.feed(b"".join(message(flat(one), KEY) for one in frames)) == frames


def test_controls_between_frames() -> None:
    reader = LinkReader(masked=True)
    wire = message(b"hi", KEY, PING) + message(b"\x03\xe8", KEY, CLOSE)
    assert reader.feed(wire) == [Control(PING, b"hi"), Control(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        (b"\xc2\x80", LinkBroken),
        (b"\x82\x00", LinkBroken),
        (b"\x81\x80", LinkBroken),
        (b"\x83\x80", LinkBroken),
        (b"\x8b\x80", LinkBroken),
        (b"\x09\x80", LinkBroken),
        (b"\x89\xfe", LinkBroken),
        (message(flat(Frame(0, 0, 0, b"")), KEY), ProtocolError),
        (message(flat(Frame(12, 0, 0, b"")), KEY), ProtocolError),
        (message(flat(Frame(Kind.OPEN, 1, 1, bytes(MAX_CONTROL + 1))), KEY), ProtocolError),
        (message(flat(Frame(Kind.DATA, 1, 1, bytes(MAX_DATA + 1))), KEY), ProtocolError),
    ],
    ids=[
        "reserved bit",
        "not masked",
        "text",
        "unknown data opcode",
        "unknown control opcode",
        "fragmented control",
        "long control",
        "kind 0",
        "kind 12",
        "long OPEN",
        "long DATA",
    ],
)
def test_nonsense_is_refused(wire: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        LinkReader(masked=True).feed(wire)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_give_frames_or_one_clear_error(data: bytes, masked: bool) -> None:
    reader = LinkReader(masked=masked)
    with contextlib.suppress(LinkBroken, ProtocolError):
        reader.feed(data)


def test_masking_is_the_compiled_one() -> None:
    """The one in Python would take most of a link's time."""
    assert apply_mask is speedups.apply_mask


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([1000, VIEW_FROM, 200_000, MAX_DATA]), min_size=5, max_size=25),
    st.integers(0, 12),
    st.sampled_from([b"", bytes(4), KEY]),
)
def test_what_was_read_stays_until_nobody_looks(sizes: list[int], kept: int, key: bytes) -> None:
    """Large payloads are views of memory that is used again, but never under who holds one."""
    reader = LinkReader(masked=bool(key))
    held: list[tuple[bytes, bytes | memoryview]] = []
    for number, size in enumerate(sizes):
        payload = number.to_bytes(4, "big") * (size // 4)
        for one in reader.feed(message(flat(Frame(Kind.DATA, 1, number, payload)), key)):
            assert isinstance(one, Frame)
            held.append((payload, one.payload))
        del held[: -kept or len(held)]
        assert all(seen == sent for sent, seen in held)


def test_memory_is_used_again() -> None:
    reader = LinkReader(masked=False)
    wire = message(flat(Frame(Kind.DATA, 1, 1, b"x" * MAX_DATA)), b"")
    seen = set()
    for _ in range(50):
        (frame,) = reader.feed(wire)
        assert isinstance(frame, Frame)
        assert isinstance(frame.payload, memoryview)
        seen.add(id(frame.payload.obj))
    assert len(seen) <= 2


def test_an_inlet_gives_what_was_put_in() -> None:
    inlet, held = Inlet(), []
    for number in range(60):
        room = inlet.room()
        count = min(len(room), (number % 7 + 1) * 40_000)
        data = bytes([number]) * count
        room[:count] = data
        held.append((data, inlet.take(count)))
        del room, held[:-5]
        assert all(seen == sent for sent, seen in held)
    assert {type(seen) for _, seen in held} == {bytes, memoryview}
