"""gRPC over a unix socket, with failures as DevboxError. Knows no service."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from devbox.model import errors

MESSAGE_BYTES = 16 << 20
"""The limit that kubelet and containerd share."""

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_KINDS: dict[grpc.StatusCode, type[errors.DevboxError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.BadInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Unavailable,
}
_FULL = "no space left on device"

Answer = TypeVar("Answer", bound=Message)


def open_channel(socket: Path) -> grpc.aio.Channel:
    """A channel that dials `socket` when it is used and dials again when it was lost."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)


def error_of(error: grpc.RpcError, what: str) -> errors.DevboxError:
    """The DevboxError of a failed call. `what` names the call for people."""
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    details = (error.details() if isinstance(error, grpc.aio.AioRpcError) else None) or str(code)
    if _FULL in details:
        return errors.NoSpace(
            f"{what}: {details}", "Nothing is lost. Free some disk space and try again."
        )
    kind = _KINDS.get(code, errors.Internal)
    hint = "Nothing is lost; try again." if kind is errors.Unavailable else ""
    return kind(f"{what}: {details}", hint)


class Service:
    """Calls the methods of one gRPC service."""

    def __init__(
        self, channel: grpc.aio.Channel, name: str, metadata: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self._channel = channel
        self._name = name
        self._metadata = metadata
        self._calls: dict[str, Any] = {}

    async def call(
        self, method: str, request: Message, answer: type[Answer], timeout_s: float = 10.0
    ) -> Answer:
        """One unary call. Raises the DevboxError of its status."""
        stub = self._calls.get(method)
        if stub is None:
            stub = self._calls[method] = self._channel.unary_unary(
                f"/{self._name}/{method}",
                request_serializer=_bytes_of,
                response_deserializer=answer.FromString,
            )
        try:
            done: Answer = await stub(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error, method) from error
        return done

    async def stream(
        self, method: str, request: Message, answer: type[Answer], timeout_s: float | None = None
    ) -> AsyncIterator[Answer]:
        """One call with a stream of answers. Raises the DevboxError of its status."""
        stub: Any = self._channel.unary_stream(
            f"/{self._name}/{method}",
            request_serializer=_bytes_of,
            response_deserializer=answer.FromString,
        )
        try:
            async for item in stub(request, timeout=timeout_s, metadata=self._metadata):
                yield item
        except grpc.RpcError as error:
            raise error_of(error, method) from error


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()
