"""Calls about pods that are no boxes: the whole shim in front of a server that records and answers.

Each is made twice, straight at the server and through the shim. What the server saw and what the
caller got must be the same, byte for byte.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from devbox.edge.containerd.channel import MESSAGE_BYTES, open_channel
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.edge.layout import Layout
from node_agent.shim.server import serving
from tests.support.boxes import controller, write_bundle

UNKNOWN_FIELD = b"\xea\x3e\x04late"
"""Field 1005, length-delimited."""
GARBAGE = b"\x0a\xff\xff no protobuf"
DETAILS = b"\x08\x05\x12\x04gone\x1a\x02\x0a\x00\xff"
SENT = (
    ("tenant", "begins as a header between hops does"),
    ("hostname-of", "x"),
    ("content-type-of", "y"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("many", "1"),
    ("many", "2"),
    ("raw-bin", b"\x00\xfe\xff"),
)
INITIAL = (("first", "one"), ("te-first", "two"), ("first-bin", b"\x00\xff"))
TRAILING = (("last", "three"), ("user-agent-of", "four"), ("last-bin", b"\xff\x00"))
RUNTIME, IMAGES = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"
BOXES = (
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "StopPodSandbox",
    "RemovePodSandbox",
    "ContainerStats",
    "ListContainerStats",
    "StreamContainerStats",
    "PodSandboxStats",
    "ListPodSandboxStats",
    "StreamPodSandboxStats",
)
"""Those that mean something for boxes."""
METHODS = (
    *(RUNTIME + name for name in BOXES),
    *(RUNTIME + name for name in ("Version", "RunPodSandbox", "ExecSync", "NotYetInvented")),
    *(IMAGES + name for name in ("PullImage", "ImageFsInfo", "NotYetInvented")),
    "/runtime.v9.FutureService/Anything",
)

pytestmark = pytest.mark.root  # pods' directories are file systems of their own


@dataclass
class Far(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Does what the metadata `act` says. Without it, it knows no method."""

    seen: list[tuple[str, bytes, tuple[Any, ...]]] = field(default_factory=list)
    left: float | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        act = dict(details.invocation_metadata or ()).get("act")
        action = {"echo": self._echo, "fail": self._fail, "hang": self._hang}.get(str(act))
        if action is None:
            return None

        async def run(request: bytes, context: Any) -> bytes:
            sent = [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
            self.seen.append((details.method, request, tuple(tuple(pair) for pair in sent)))
            self.left = context.time_remaining()
            answer: bytes = await action(request, context)
            return answer

        return grpc.unary_unary_rpc_method_handler(run)

    async def _echo(self, request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata(INITIAL)
        context.set_trailing_metadata(TRAILING)
        return request + b"\x00 answered"

    async def _fail(self, request: bytes, context: Any) -> bytes:
        number = int(dict(context.invocation_metadata())["code"])
        (code,) = [one for one in grpc.StatusCode if one.value[0] == number]
        trailing = (*TRAILING, ("grpc-status-details-bin", DETAILS))
        await context.abort(code, "no — «really»\n100%", trailing)
        raise AssertionError

    async def _hang(self, request: bytes, context: Any) -> bytes:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


@dataclass
class Ends:
    far: Far
    straight: grpc.aio.Channel
    through: grpc.aio.Channel


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dvu-") as place:
        layout = Layout(data=Path(place) / "data", run=Path(place) / "run")
        for path in (layout.data, layout.run):
            path.mkdir()
        write_bundle(layout)
        far = Far()
        limits = (("grpc.max_receive_message_length", MESSAGE_BYTES),)
        server = grpc.aio.server(handlers=[far], options=limits)
        layout.containerd_socket.parent.mkdir(exist_ok=True)
        server.add_insecure_port(f"unix:{layout.containerd_socket}")
        await server.start()
        async with controller(layout), serving(layout):
            channels = open_channel(layout.containerd_socket), open_channel(layout.cri_socket)
            yield Ends(far, *channels)
            for channel in channels:
                await channel.close(None)
        await server.stop(0.1)


Got = tuple[bytes | None, grpc.StatusCode, str | None, Any, Any]


async def got(channel: grpc.aio.Channel, method: str, request: bytes, *more: Any) -> Got:
    """All that a caller can see of a call."""
    stub: Any = channel.unary_unary(method, None, None)
    call = stub(request, metadata=(*SENT, *more), timeout=30)
    answer = None
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return (
            None,
            error.code(),
            error.details(),
            tuple(error.initial_metadata()),
            tuple(error.trailing_metadata()),
        )
    code, details = await call.code(), await call.details()
    initial, trailing = await call.initial_metadata(), await call.trailing_metadata()
    return answer, code, details, tuple(initial), tuple(trailing)


async def compare(ends: Ends, method: str, request: bytes, *more: Any) -> Got:
    ends.far.seen.clear()
    straight = await got(ends.straight, method, request, *more)
    through = await got(ends.through, method, request, *more)
    assert through == straight
    first, second = ends.far.seen
    assert second == first
    return through


def request_of(name: str) -> bytes:
    """What a caller sends for a pod that is no box, with a field of a later version."""
    ids: dict[str, Any] = {
        "CreateContainer": cri.CreateContainerRequest(
            pod_sandbox_id="s",
            config=cri.ContainerConfig(metadata=cri.ContainerMetadata(name="c")),
            sandbox_config=cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="pod")),
        ),
        "StopPodSandbox": cri.StopPodSandboxRequest(pod_sandbox_id="s"),
        "RemovePodSandbox": cri.RemovePodSandboxRequest(pod_sandbox_id="s"),
        "StopContainer": cri.StopContainerRequest(container_id="c", timeout=3),
    }
    known = ids.get(name) or cri.StartContainerRequest(container_id="c")
    data: bytes = known.SerializeToString()
    return data + UNKNOWN_FIELD


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_passes(ends: Ends, method: str) -> None:
    for request in (request_of(method.rpartition("/")[2]), GARBAGE, b""):
        answer, code, *_ = await compare(ends, method, request, ("act", "echo"))
        assert (answer, code) == (request + b"\x00 answered", grpc.StatusCode.OK)
        for number in (5, 13):
            act = (("act", "fail"), ("code", str(number)))
            _, code, details, _, trailing = await compare(ends, method, request, *act)
            assert (code.value[0], details) == (number, "no — «really»\n100%")
            assert ("grpc-status-details-bin", DETAILS) in trailing


async def test_every_status_passes(ends: Ends) -> None:
    for status in grpc.StatusCode:
        number = status.value[0]
        if number:
            act = (("act", "fail"), ("code", str(number)))
            for name in ("StopContainer", "ExecSync"):
                await compare(ends, RUNTIME + name, request_of(name), *act)


async def test_a_method_that_containerd_lacks(ends: Ends) -> None:
    for method in METHODS:
        straight = await got(ends.straight, method, b"")
        assert straight[1] is grpc.StatusCode.UNIMPLEMENTED
        assert await got(ends.through, method, b"") == straight


async def test_a_cancelled_call_is_cancelled_there(ends: Ends) -> None:
    for name in (*BOXES[:6], "ExecSync"):
        ends.far.entered.clear()
        ends.far.cancelled.clear()
        stub: Any = ends.through.unary_unary(RUNTIME + name, None, None)
        call = stub(request_of(name), metadata=(("act", "hang"),))
        async with asyncio.timeout(20):
            await ends.far.entered.wait()
            call.cancel()
            await ends.far.cancelled.wait()


async def test_a_deadline_is_the_same_there(ends: Ends) -> None:
    for name in ("StopContainer", "ExecSync"):
        ends.far.cancelled.clear()
        stub: Any = ends.through.unary_unary(RUNTIME + name, None, None)
        await stub(request_of(name), metadata=(("act", "echo"),), timeout=500)
        assert ends.far.left is not None
        assert 400 < ends.far.left <= 510
        await stub(request_of(name), metadata=(("act", "echo"),))
        assert no_deadline(ends.far)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(request_of(name), metadata=(("act", "hang"),), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(20):
            await ends.far.cancelled.wait()


def no_deadline(far: Far) -> bool:
    return far.left is None or far.left > 1e6


async def test_calls_side_by_side_get_their_own_answers(ends: Ends) -> None:
    async def one(number: int) -> None:
        method = METHODS[number % len(METHODS)]
        request = request_of(method.rpartition("/")[2]) + b"\x80\x01%c" % (number % 128)
        answer, *_ = await got(ends.through, method, request, ("act", "echo"))
        assert answer == request + b"\x00 answered"

    await asyncio.gather(*(one(number) for number in range(300)))
