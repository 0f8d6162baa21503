"""Calls between parts of one machine: POST /<method>, structs as JSON, over a unix socket.

A protocol whose methods take one struct and answer one struct (Orchestrator, NodeOrders) is served
by `routes` and called through `Caller`. Errors travel as {code, message, hint} with the error's
HTTP status and come back as the same `DevboxError`.
"""

import inspect
from pathlib import Path
from typing import Any, get_type_hints

import aiohttp
import msgspec
import structlog
from aiohttp import web

from devbox.edge.failures import Failure as Failure
from devbox.edge.failures import error_of as error_of
from devbox.edge.failures import failure_of as failure_of
from devbox.model import errors

_log = structlog.get_logger()
_LIMIT_BYTES = 8 << 20
_END_S = 0.3


def methods(protocol: type) -> dict[str, tuple[type[Any], type[Any]]]:
    """Name -> (request type, answer type) of a protocol's public methods."""
    found: dict[str, tuple[type[Any], type[Any]]] = {}
    for name, function in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_"):
            hints = get_type_hints(function)
            found[name] = (hints["request"], hints["return"])
    return found


def routes(protocol: type, implementation: object) -> list[web.RouteDef]:
    """One POST route per method."""
    return [
        web.post(f"/{name}", _handler(getattr(implementation, name), request_type))
        for name, (request_type, _) in methods(protocol).items()
    ]


def _handler(method: Any, request_type: type[Any]) -> Any:
    async def handle(request: web.Request) -> web.Response:
        try:
            body = msgspec.json.decode(await request.read(), type=request_type)
            answer = await method(body)
        except msgspec.MsgspecError as error:
            return _failed(errors.BadInput(f"the request is malformed: {error}"))
        except errors.DevboxError as error:
            return _failed(error)
        except Exception as error:  # the edge between a caller and our fault
            _log.exception("call_failed", method=method.__name__)
            return _failed(errors.Internal(f"{method.__name__} failed: {type(error).__name__}"))
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    return handle


def _failed(error: errors.DevboxError) -> web.Response:
    return web.Response(
        status=error.http_status,
        body=msgspec.json.encode(failure_of(error)),
        content_type="application/json",
    )


async def serve(socket: Path, *, protocol: type, implementation: object) -> web.AppRunner:
    """Serve a protocol on a unix socket of mode 0600. The caller cleans the runner up."""
    app = web.Application(client_max_size=_LIMIT_BYTES)
    app.add_routes(routes(protocol, implementation))
    # Long polls are asked again by whoever hears no answer; all else is done in milliseconds.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_END_S)
    await runner.setup()
    socket.unlink(missing_ok=True)
    site = web.UnixSite(runner, str(socket))
    await site.start()
    socket.chmod(0o600)
    return runner


class Caller:
    """Calls a protocol's methods over a unix socket. Unavailable when nobody answers."""

    def __init__(self, socket: Path, protocol: type, who: str) -> None:
        self._methods = methods(protocol)
        self._who = who
        self._socket = socket
        self._http: aiohttp.ClientSession | None = None

    async def call(self, name: str, request: msgspec.Struct, *, timeout_s: float = 30.0) -> Any:
        """One call. Raises the DevboxError that the other side raised, or Unavailable."""
        if self._http is None:
            connector = aiohttp.UnixConnector(str(self._socket))
            self._http = aiohttp.ClientSession(connector=connector)
        try:
            async with self._http.post(
                f"http://localhost/{name}",
                data=msgspec.json.encode(request),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                body = await response.read()
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.Unavailable(
                f"the {self._who} does not answer",
                "Nothing is lost. `devbox server status` tells what runs.",
            ) from error
        if status != web.HTTPOk.status_code:
            raise error_of(msgspec.json.decode(body, type=Failure))
        return msgspec.json.decode(body, type=self._methods[name][1])

    async def close(self) -> None:
        """Close connections."""
        if self._http is not None:
            await self._http.close()
