"""The calls of CRI that mean something for boxes.

Everything about a pod that is no box is passed on as it came, malformed requests and a client's
cancellation included. What is done to a box is done in tasks of its own: a client that goes away in
the middle changes nothing.
"""

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from devbox.edge.containerd.client import Containerd
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.edge.tasks import Tasks
from devbox.model import errors
from devbox.model.nodes import BoxKey, BoxRecord, NodeOrders
from devbox.model.saves import SaveReason
from node_agent.journal import Box, Journal
from node_agent.shim import rewrite
from node_agent.shim.ending import Ending
from node_agent.shim.healing import heal
from node_agent.shim.linking import Linking, Target
from node_agent.shim.pulling import METHOD as PULL
from node_agent.shim.pulling import Pulling
from node_agent.shim.relay import Incoming, Interceptor, Refused, Rewriter, Unary
from node_agent.shim.usage import Usages
from node_agent.upper import overlay_of
from node_agent.upper.pinning import keep_pinned

_log = structlog.get_logger()
_RUNTIME = "/runtime.v1.RuntimeService/"
_CREATE_S = 120.0
_BUSY_S = 10.0
_PIN_S = 60.0
_FULL = (
    "the node's disk is full (no space left on device). Nothing is lost; free some and try again."
)
_CODES: dict[type[errors.DevboxError], grpc.StatusCode] = {
    errors.BadInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.NoSpace: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the intercepted calls work with."""

    journal: Journal
    containerd: Containerd
    runtime: Cri
    orders: NodeOrders
    linking: Linking
    ending: Ending
    usages: Usages
    tasks: Tasks
    unary: Unary
    pulling: Pulling


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    """What an ending call names."""

    container_id: str = ""
    sandbox_id: str = ""


class Boxes:
    """Intercepts the calls that make, start, stop and remove boxes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._journal = parts.journal
        self._locks: dict[str, asyncio.Lock] = {}

    def interceptors(self) -> Mapping[str, Interceptor]:
        """Method -> what is done instead of relaying."""
        handlers: dict[str, Interceptor] = {
            "CreateContainer": self._create,
            "StartContainer": self._start,
            "StopContainer": self._stop_container,
            "RemoveContainer": self._remove_container,
            "StopPodSandbox": self._stop_sandbox,
            "RemovePodSandbox": self._remove_sandbox,
        }
        named = {_RUNTIME + name: _answering(handler) for name, handler in handlers.items()}
        return {**named, PULL: _answering(self._parts.pulling.pull)}

    def rewriters(self) -> Mapping[str, Rewriter]:
        """Method -> what its answer becomes."""
        return {_RUNTIME + name: partial(self._fill, fill) for name, fill in rewrite.STATS.items()}

    async def _shielded(self, work: Coroutine[Any, Any, bytes], incoming: Incoming) -> bytes:
        """Whatever becomes of the call, this is carried out to its end."""
        task = self._parts.tasks.start(_settled(work), incoming.method)
        answer = await asyncio.shield(task)
        if isinstance(answer, bytes):
            return answer
        raise answer

    async def _passed(self, data: bytes, incoming: Incoming) -> bytes:
        """As containerd answers."""
        return await self._parts.unary(data, incoming, incoming.timeout_s)

    async def _fill(self, fill: rewrite.Fill, answer: bytes) -> bytes:
        try:
            usages = await asyncio.to_thread(self._parts.usages.by_container)
            if not usages:
                return answer
            self._parts.usages.asked()
            return fill(answer, usages)
        except Exception:  # a bad record must not cost a node its stats
            _log.exception("stats_not_filled")
            return answer

    @asynccontextmanager
    async def _alone(self, project_uid: str) -> AsyncIterator[None]:
        """One call at a time makes or starts boxes of a project."""
        lock = self._locks.setdefault(project_uid, asyncio.Lock())
        try:
            async with asyncio.timeout(_BUSY_S):
                await lock.acquire()
        except TimeoutError as error:
            raise errors.Unavailable("another box of the project is being started") from error
        try:
            yield
        finally:
            lock.release()

    # Making

    async def _create(self, data: bytes, incoming: Incoming) -> bytes:
        request = _parsed(cri.CreateContainerRequest, data)
        record = await self._record(request)
        if record is None:
            return await self._passed(data, incoming)
        if rewrite.has_user_namespace(request):
            raise errors.Conflict(
                "the pod has a user namespace of its own, and its files would have shifted owners",
                "Start the box without one (hostUsers: true).",
            )
        return await self._shielded(self._create_alone(record, request, incoming), incoming)

    async def _create_alone(
        self, record: BoxRecord, request: cri.CreateContainerRequest, incoming: Incoming
    ) -> bytes:
        async with self._alone(record.project_uid):
            with self._parts.linking.making(record.pod_uid):
                return await self._create_box(record, request, incoming)

    async def _record(self, request: cri.CreateContainerRequest) -> BoxRecord | None:
        """The pod's record; None when it is no box."""
        pod_uid = request.sandbox_config.metadata.uid
        if not pod_uid or "/" in pod_uid or pod_uid.startswith("."):
            return None
        try:
            return await self._parts.orders.box(BoxKey(pod_uid=pod_uid))
        except errors.NotFound:
            return None
        except errors.DevboxError as error:
            if rewrite.PROJECT_LABEL not in request.sandbox_config.labels:
                return None
            raise errors.Unavailable(
                f"the controller cannot be asked about the box: {error.message}", error.hint
            ) from error

    async def _create_box(
        self, record: BoxRecord, request: cri.CreateContainerRequest, incoming: Incoming
    ) -> bytes:
        linking = self._parts.linking
        await asyncio.to_thread(linking.check_free, record)
        rewrite.make_box(
            request, bundle=linking.bundle(), box=linking.box_directory(record.pod_uid)
        )
        answer = await self._parts.unary(request.SerializeToString(), incoming, _CREATE_S)
        container_id = cri.CreateContainerResponse.FromString(answer).container_id
        try:
            await self._link(record, container_id, request.pod_sandbox_id)
        except BaseException:
            await self._take_back(record, container_id)
            raise
        self._parts.tasks.start(self.pin(), "pin")
        return answer

    async def _link(self, record: BoxRecord, container_id: str, sandbox_id: str) -> None:
        containerd = self._parts.containerd
        overlay = overlay_of(await containerd.mounts(container_id))
        parent = (await containerd.stat_snapshot(container_id)).parent
        earlier = await asyncio.to_thread(self._journal.boxes_of_project, record.project_uid)
        others = [
            path
            for box in earlier
            if box.container_id != container_id
            and (path := await self._upperdir(box.container_id)) is not None
        ]
        target = Target(
            container_id=container_id, sandbox_id=sandbox_id, overlay=overlay, chain_id=parent
        )
        await asyncio.to_thread(self._parts.linking.link, record, target, others)
        _log.info("box_linked", project=record.project_uid, container=container_id)

    async def _upperdir(self, container_id: str) -> Path | None:
        try:
            return overlay_of(await self._parts.containerd.mounts(container_id)).upperdir
        except (errors.NotFound, errors.Conflict):
            return None

    async def _take_back(self, record: BoxRecord, container_id: str) -> None:
        """Remove a container that got no upper, so that the call can be tried again."""
        try:
            upperdir = await self._upperdir(container_id)
            await asyncio.to_thread(self._parts.linking.undo, record, container_id, upperdir)
            await self._parts.runtime.remove_container(container_id)
        except Exception:  # the reason why it got none is what must be told
            _log.exception("container_not_taken_back", container=container_id)

    async def keep_pinned(self) -> None:
        """Pin now and again, until cancelled: a pull takes the pins off."""
        while True:
            await self.pin()
            await asyncio.sleep(_PIN_S)

    async def pin(self) -> None:
        """Keep collectors away from the images that uppers stand on."""
        try:
            uppers = await asyncio.to_thread(self._journal.uppers)
            digests = frozenset(upper.image.digest for upper in uppers)
            await keep_pinned(self._parts.containerd, digests)
        except Exception as error:  # without pins all works; with a dead loop none would come back
            _log.warning("images_not_pinned", error=str(error))

    # Starting

    async def _start(self, data: bytes, incoming: Incoming) -> bytes:
        box = await self._box(_parsed(cri.StartContainerRequest, data).container_id)
        if box is None:
            return await self._passed(data, incoming)
        return await self._shielded(self._start_alone(box, data, incoming), incoming)

    async def _start_alone(self, box: Box, data: bytes, incoming: Incoming) -> bytes:
        async with self._alone(box.project_uid):
            if not await self._has_task(box.container_id):
                await self._check_start(box)
            return await self._parts.unary(data, incoming, _CREATE_S)

    async def _has_task(self, container_id: str) -> bool:
        """Was it started already? Then containerd says why it cannot be started again."""
        try:
            await self._parts.containerd.task(container_id)
        except errors.NotFound:
            return False
        return True

    async def _check_start(self, box: Box) -> None:
        upperdir = await self._upperdir(box.container_id)
        if upperdir is None:
            raise errors.Conflict("the container's root is gone", "Make a new container.")
        await asyncio.to_thread(self._parts.linking.check_start, box, upperdir)

    async def _box(self, container_id: str) -> Box | None:
        try:
            return await asyncio.to_thread(self._journal.box, container_id)
        except Exception:  # a bad record must not stop other pods
            _log.exception("journal_unreadable")
            return None

    # Ending

    async def _stop_container(self, data: bytes, incoming: Incoming) -> bytes:
        named = _Named(container_id=_parsed(cri.StopContainerRequest, data).container_id)
        return await self._end(data, incoming, named, SaveReason.STOPPED)

    async def _remove_container(self, data: bytes, incoming: Incoming) -> bytes:
        named = _Named(container_id=_parsed(cri.RemoveContainerRequest, data).container_id)
        return await self._end(data, incoming, named, SaveReason.REMOVED)

    async def _stop_sandbox(self, data: bytes, incoming: Incoming) -> bytes:
        named = _Named(sandbox_id=_parsed(cri.StopPodSandboxRequest, data).pod_sandbox_id)
        return await self._end(data, incoming, named, SaveReason.STOPPED)

    async def _remove_sandbox(self, data: bytes, incoming: Incoming) -> bytes:
        named = _Named(sandbox_id=_parsed(cri.RemovePodSandboxRequest, data).pod_sandbox_id)
        return await self._end(data, incoming, named, SaveReason.REMOVED)

    async def _end(
        self, data: bytes, incoming: Incoming, named: _Named, reason: SaveReason
    ) -> bytes:
        boxes = await asyncio.to_thread(self._boxes_of, named)
        work = self._healing(data, incoming, named)
        if not boxes:
            return await work
        return await self._shielded(self._end_boxes(boxes, work, reason), incoming)

    async def _end_boxes(
        self, boxes: list[Box], work: Awaitable[bytes], reason: SaveReason
    ) -> bytes:
        ending = self._parts.ending
        ending.stopping(boxes)
        try:
            answer = await work
            gone = reason is SaveReason.REMOVED
            await ending.ended(boxes, reason, gone=gone)
            if gone:
                await asyncio.to_thread(self._parts.linking.forget_pods)
        finally:
            ending.stopped(boxes)
        return answer

    def _boxes_of(self, named: _Named) -> list[Box]:
        try:
            if named.sandbox_id:
                return self._journal.boxes_of_sandbox(named.sandbox_id)
            box = self._journal.box(named.container_id)
        except Exception:  # a bad record must not stop other pods
            _log.exception("journal_unreadable")
            return []
        return [box] if box else []

    async def _healing(self, data: bytes, incoming: Incoming, named: _Named) -> bytes:
        """Call containerd; if a box's container is lost in it, mend that and call again."""
        try:
            return await self._parts.unary(data, incoming, incoming.timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND or not await self._heal(named):
                raise
        return await self._parts.unary(data, incoming, incoming.timeout_s)

    async def _heal(self, named: _Named) -> bool:
        try:
            return await heal(
                self._parts.containerd,
                self._parts.runtime,
                container_id=named.container_id,
                sandbox_id=named.sandbox_id,
            )
        except errors.DevboxError as error:
            _log.warning("not_healed", error=error.message)
            return False


Message = TypeVar("Message", bound=ProtobufMessage)


def _parsed(kind: type[Message], data: bytes) -> Message:
    """An empty one for what cannot be read: it names no box, and containerd says what is wrong."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return kind()


def _answering(handler: Interceptor) -> Interceptor:
    async def run(request: bytes, incoming: Incoming) -> bytes:
        answer = await _settled(handler(request, incoming))
        if isinstance(answer, bytes):
            return answer
        raise answer

    return run


async def _settled(work: Awaitable[bytes]) -> bytes | Refused | grpc.aio.AioRpcError:
    """An expected failure is an answer, not a failed task."""
    try:
        return await work
    except errors.DevboxError as error:
        code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
        _log.warning("call_refused", error=error.message, code=code.name)
        return Refused(code, f"{error.message}. {error.hint}".strip())
    except (grpc.aio.AioRpcError, Refused) as error:
        return error
    except Exception as error:  # the edge between a client and our fault
        if _disk_is_full(error):
            return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, _FULL)
        _log.exception("call_failed")
        return Refused(grpc.StatusCode.INTERNAL, f"the commit-shim failed: {type(error).__name__}")


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return isinstance(error, sqlite3.OperationalError) and "is full" in str(error)
