"""Relays gRPC calls as raw bytes, whatever their service, method or message.

On the wire a unary call is a stream of one message, so every method is taken as a stream both
ways. A request that is one message and an end goes on as one, in one batch: grpcio overwrites the
status of a call whose peer answers before a stream of requests is written. Knows nothing of CRI.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio

from devbox.edge.tasks import Tasks

_HOP_HEADERS = {"user-agent", "te", "content-type", "host"}
_NEVER_S = 365 * 86400.0
_END_S = 0.05
"""A client that sends one message sends the end with it. One that is silent for longer streams."""

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = tuple[tuple[str, str | bytes], ...]
Interceptor = Callable[[bytes, "Incoming"], Awaitable[bytes]]
"""Takes a unary request, answers its response. Raises Refused or grpc.aio.AioRpcError."""
Unary = Callable[[bytes, "Incoming", float | None], Awaitable[bytes]]
"""Calls the peer."""
Rewriter = Callable[[bytes], Awaitable[bytes]]
"""Takes a response message, answers what is sent instead."""


class Refused(Exception):
    """The call is answered with this status instead of being relayed."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Incoming:
    """What a call brought besides its message, and what its answer is to bring."""

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.metadata = _forwarded(context.invocation_metadata())
        self.timeout_s = _timeout(context)
        self.initial: Metadata = ()
        self.trailing: Metadata = ()


def _forwarded(metadata: Iterable[Any] | None) -> Metadata:
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _HOP_HEADERS and not key.startswith(":")
    )


def _timeout(context: Context) -> float | None:
    left: float | None = context.time_remaining()  # None without a deadline, whatever the stubs say
    return None if left is None or left > _NEVER_S else max(0.0, left)


class Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Handles every method: by its interceptor, else by passing it to `channel`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._interceptors: Mapping[str, Interceptor] = {}
        self._rewriters: Mapping[str, Rewriter] = {}
        self._tasks = Tasks("relay")

    async def close(self) -> None:
        """End what still waits for requests."""
        await self._tasks.close()

    def intercept(
        self, interceptors: Mapping[str, Interceptor], rewriters: Mapping[str, Rewriter]
    ) -> None:
        """By method, such as `/runtime.v1.RuntimeService/CreateContainer`."""
        self._interceptors = interceptors
        self._rewriters = rewriters

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of one call."""
        method: str = details.method
        interceptor = self._interceptors.get(method)
        if interceptor is not None:
            return grpc.unary_unary_rpc_method_handler(self._intercepted(method, interceptor))
        return grpc.stream_stream_rpc_method_handler(self._relayed(method))

    def _intercepted(self, method: str, interceptor: Interceptor) -> Any:
        async def handle(request: bytes, context: Context) -> bytes:
            incoming = Incoming(method, context)
            try:
                answer = await interceptor(request, incoming)
            except Refused as refused:
                await context.abort(refused.code, refused.details)
            except grpc.aio.AioRpcError as error:
                await _pass_on(error, context)
            else:
                if incoming.initial:
                    await context.send_initial_metadata(incoming.initial)
                context.set_trailing_metadata(incoming.trailing)
                return answer
            raise AssertionError("unreachable: abort raises")

        return handle

    def _relayed(self, method: str) -> Any:
        rewrite = self._rewriters.get(method)

        async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
            call = await self._call(requests, Incoming(method, context))
            try:
                await _answers(call, context, rewrite)
            except grpc.aio.AioRpcError as error:
                await _pass_on(error, context)
            finally:
                call.cancel()

        return handle

    async def _call(self, requests: AsyncIterator[bytes], incoming: Incoming) -> Any:
        """The call at the other side, begun."""
        more: dict[str, Any] = {"timeout": incoming.timeout_s, "metadata": incoming.metadata}
        first = await _next(requests)
        if first is None:
            streaming: Any = self._channel.stream_stream(incoming.method, None, None)
            return streaming(_none(), **more)
        second = self._tasks.start(_next(requests), incoming.method)
        await asyncio.wait([second], timeout=_END_S)
        if second.done() and second.result() is None:
            single: Any = self._channel.unary_stream(incoming.method, None, None)
            return single(first, **more)
        streaming = self._channel.stream_stream(incoming.method, None, None)
        return streaming(_joined(first, second, requests), **more)

    async def unary(self, request: bytes, incoming: Incoming, timeout_s: float | None) -> bytes:
        """Call the other side once. Raises grpc.aio.AioRpcError."""
        method: Any = self._channel.unary_unary(incoming.method, None, None)
        call = method(request, timeout=timeout_s, metadata=incoming.metadata)
        answer: bytes = await call
        incoming.initial = _forwarded(await call.initial_metadata())
        incoming.trailing = _forwarded(await call.trailing_metadata())
        return answer


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    """The next message; None at the end."""
    async for message in requests:
        return message
    return None


async def _none() -> AsyncIterator[bytes]:
    return
    yield b""


async def _joined(
    first: bytes, second: asyncio.Task[bytes | None], rest: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    yield first
    message = await second
    while message is not None:
        yield message
        message = await _next(rest)


async def _answers(call: Any, context: Context, rewrite: Rewriter | None) -> None:
    initial = await call.initial_metadata()
    if initial:
        await context.send_initial_metadata(_forwarded(initial))
    async for message in call:
        await context.write(message if rewrite is None else await rewrite(message))
    code, trailing = await call.code(), await call.trailing_metadata()
    details = await call.details()
    if code is not grpc.StatusCode.OK:
        await context.abort(code, details or "", _forwarded(trailing))
    if trailing:
        context.set_trailing_metadata(_forwarded(trailing))


async def _pass_on(error: grpc.aio.AioRpcError, context: Context) -> None:
    if initial := _forwarded(error.initial_metadata()):
        await context.send_initial_metadata(initial)
    trailing = _forwarded(error.trailing_metadata())
    await context.abort(error.code(), error.details() or "", trailing)
