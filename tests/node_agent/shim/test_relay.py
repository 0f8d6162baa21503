"""Calls that are relayed arrive and return byte for byte. The other side is a grpc server."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from devbox.edge.containerd.channel import MESSAGE_BYTES, open_channel
from node_agent.shim.relay import Incoming, Refused, Relay

_LIMITS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
)
DETAILS_BIN = b"\x08\x05\x12\x04gone\x1a\x02\x0a\x00\xff"


class Far(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Stands for containerd: echoes, counts, fails, hangs."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.left: float | None = None
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rpartition("/")[2]
        action = getattr(self, name.lower(), None)
        return None if action is None else grpc.stream_stream_rpc_method_handler(action)

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        self.left = context.time_remaining()
        await context.send_initial_metadata((("first", "one"), ("raw-bin", b"\x00\xff")))
        async for message in requests:
            await context.write(message)
        context.set_trailing_metadata((("last", "two"),))

    async def fail(self, requests: AsyncIterator[bytes], context: Any) -> None:
        trailing = (("grpc-status-details-bin", DETAILS_BIN), ("why", "because"))
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "no — really", trailing)

    async def some(self, requests: AsyncIterator[bytes], context: Any) -> None:
        await context.write(b"1")
        await context.write(b"2")
        await context.abort(grpc.StatusCode.ABORTED, "enough")

    async def hang(self, requests: AsyncIterator[bytes], context: Any) -> None:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@asynccontextmanager
async def served(handler: Any, path: Path) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(handlers=[handler], options=_LIMITS)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    channel = open_channel(path)
    try:
        yield channel
    finally:
        await channel.close(None)
        await server.stop(0.1)


@pytest.fixture
def directory() -> Any:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dvy-") as path:
        yield Path(path)


@pytest.fixture
async def ends(directory: Path) -> AsyncIterator[tuple[grpc.aio.Channel, Far, Relay]]:
    far = Far()
    async with served(far, directory / "far") as channel:
        relay = Relay(channel)
        async with served(relay, directory / "near") as near:
            yield near, far, relay
        await relay.close()


Ends = tuple[grpc.aio.Channel, Far, Relay]


def trailers(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    found: Any = error.trailing_metadata()
    return dict(found)


async def test_a_unary_call_of_an_unknown_service(ends: Ends) -> None:
    near, far, _ = ends
    call: Any = near.unary_unary("/a.b.Unknown/Echo", None, None)(
        b"\xff\x00 no protobuf", metadata=(("sent", "me"), ("blob-bin", b"\x01\xfe")), timeout=7.0
    )
    assert await call == b"\xff\x00 no protobuf"
    assert dict(await call.initial_metadata()) == {"first": "one", "raw-bin": b"\x00\xff"}
    assert dict(await call.trailing_metadata()) == {"last": "two"}
    assert (far.metadata["sent"], far.metadata["blob-bin"]) == ("me", b"\x01\xfe")
    assert far.left is not None
    assert 5 < far.left < 8


async def test_streams_both_ways(ends: Ends) -> None:
    near, far, _ = ends
    echo: Any = near.stream_stream("/x.Y/Echo", None, None)
    call = echo()
    for word in (b"a", b"", b"c"):
        await call.write(word)
        assert await call.read() == word
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF  # type: ignore[attr-defined]
    assert far.left is None or far.left > 1e6


async def test_large_messages(ends: Ends) -> None:
    near, _, _ = ends
    big = os.urandom(MESSAGE_BYTES - 64)
    call: Any = near.unary_unary("/x.Y/Echo", None, None)
    assert await call(big) == big


async def test_status_details_and_trailers(ends: Ends) -> None:
    near, _, _ = ends
    call: Any = near.unary_unary("/x.Y/Fail", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert caught.value.details() == "no — really"
    assert trailers(caught.value) == {"grpc-status-details-bin": DETAILS_BIN, "why": "because"}


async def test_a_status_that_comes_before_the_request_is_read(ends: Ends) -> None:
    near, _, _ = ends
    call: Any = near.unary_unary("/x.Y/Fail", None, None)
    outcomes = await asyncio.gather(
        *(call(bytes(1 << 20)) for _ in range(50)), return_exceptions=True
    )
    assert {
        outcome.code() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)
    } == {grpc.StatusCode.OUT_OF_RANGE}


async def test_a_stream_without_a_request_and_a_slow_one(ends: Ends) -> None:
    near, _, _ = ends
    echo: Any = near.stream_stream("/x.Y/Echo", None, None)
    empty = echo()
    await empty.done_writing()
    assert await empty.read() == grpc.aio.EOF  # type: ignore[attr-defined]
    slow = echo()
    await slow.write(b"1")
    assert await slow.read() == b"1"
    await slow.write(b"2")
    assert await slow.read() == b"2"
    await slow.done_writing()
    assert await slow.code() is grpc.StatusCode.OK


async def test_a_stream_that_fails_in_the_middle(ends: Ends) -> None:
    near, _, _ = ends
    call: Any = near.unary_stream("/x.Y/Some", None, None)(b"")
    assert [await call.read(), await call.read()] == [b"1", b"2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "enough")


async def test_unknown_method(ends: Ends) -> None:
    near, _, _ = ends
    call: Any = near.unary_unary("/x.Y/Nothing", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_cancellation_and_deadline_arrive(ends: Ends) -> None:
    near, far, _ = ends
    call: Any = near.unary_unary("/x.Y/Hang", None, None)(b"")
    async with asyncio.timeout(5):
        await far.entered.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await far.cancelled.wait()
    far.cancelled.clear()
    late: Any = near.unary_unary("/x.Y/Hang", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await late(b"", timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await far.cancelled.wait()


async def test_intercepted_and_rewritten(ends: Ends) -> None:
    near, _, relay = ends

    async def reverse(request: bytes, incoming: Incoming) -> bytes:
        if request == b"no":
            raise Refused(grpc.StatusCode.UNAVAILABLE, "not now")
        if request == b"far":
            return await relay.unary(request, incoming, None)
        return request[::-1]

    async def upper(answer: bytes) -> bytes:
        return answer.upper()

    relay.intercept({"/x.Y/Mine": reverse, "/x.Y/Fail": reverse}, {"/x.Y/Echo": upper})
    call: Any = near.unary_unary("/x.Y/Mine", None, None)
    assert await call(b"abc") == b"cba"
    with pytest.raises(grpc.aio.AioRpcError, match="not now"):
        await call(b"no")
    echo: Any = near.unary_unary("/x.Y/Echo", None, None)
    assert await echo(b"loud") == b"LOUD"
    failing: Any = near.unary_unary("/x.Y/Fail", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await failing(b"far")
    assert caught.value.details() == "no — really"
    assert trailers(caught.value)["grpc-status-details-bin"] == DETAILS_BIN


async def test_nobody_at_the_other_side(directory: Path) -> None:
    channel = open_channel(directory / "none")
    async with served(Relay(channel), directory / "near") as near:
        call: Any = near.unary_unary("/x.Y/Echo", None, None)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with asyncio.timeout(2):
                    await call(b"")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with served(Far(), directory / "none"):
            async with asyncio.timeout(5):
                while await status_of(call, b"back") is grpc.StatusCode.UNAVAILABLE:
                    await asyncio.sleep(0.05)
            assert await call(b"back") == b"back"
    await channel.close(None)


async def status_of(call: Any, request: bytes) -> grpc.StatusCode:
    try:
        await call(request)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
