"""HTTP handlers, one per route of the table: who asks, what for, the Orchestrator's answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiohttp import web

from devbox.edge.routes import PREFIX, TABLE, Route
from devbox.edge.rpc import failure_of
from devbox.model import orchestrator as o
from devbox.model.about import About
from devbox.model.errors import (
    BadInput,
    DevboxError,
    Forbidden,
    Internal,
    NotFound,
    Unauthorized,
    Unavailable,
)
from devbox.model.projects import User
from gateway.access import Caller, bearer, identify, narrow, permit, same_not_found
from gateway.api.openapi import document
from gateway.limits import Failures

_log = structlog.get_logger()
_BODY_S = 30.0
_AGAIN_S = "5"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Api:
    """What the handlers share."""

    orchestrator: o.Orchestrator
    about: About
    failures: Failures

    def routes(self) -> list[web.RouteDef]:
        """All routes of the API, and its description."""
        found = [
            web.route(route.method, f"{PREFIX}{route.path}", self._handler(route))
            for route in TABLE
        ]
        body = msgspec.json.encode(document(self.about.version))

        async def openapi(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        return [*found, web.get(f"{PREFIX}/openapi.json", openapi)]

    def _handler(self, route: Route) -> Handler:
        async def handle(http: web.Request) -> web.Response:
            try:
                caller = await self._caller(http)
                request = await _request(route, http)
                permit(route.who, caller, request)
                answer = await self._call(route, narrow(request, caller), caller)
            except DevboxError as error:
                return failed(error)
            except Exception as error:  # the edge between a caller and our fault
                _log.exception("call_failed", operation=route.operation)
                return failed(Internal(f"{route.operation} failed: {type(error).__name__}"))
            return web.Response(
                status=route.status,
                body=msgspec.json.encode(answer),
                content_type="application/json",
            )

        return handle

    async def _caller(self, http: web.Request) -> Caller:
        address = http.remote or "local"
        if self.failures.wait_s(address, time.monotonic()):
            raise TooManyFailures("too many wrong credentials came from here", "Wait a minute.")
        namespace, name = http.match_info.get("namespace"), http.match_info.get("name")
        key = o.ProjectKey(namespace=namespace, name=name) if namespace and name else None
        try:
            token = bearer(http.headers.get("Authorization", ""))
            return await identify(self.orchestrator, token, key)
        except Unauthorized:
            self.failures.note(address, time.monotonic())
            raise

    async def _call(self, route: Route, request: msgspec.Struct, caller: Caller) -> Any:
        if route.operation == "about":
            return self.about
        if route.operation == "me":
            return _me(caller)
        method = "list_projects" if route.operation == "list_namespace" else route.operation
        try:
            return await getattr(self.orchestrator, method)(request)
        except NotFound as error:
            if "name" not in route.in_path:
                raise
            raise await same_not_found(self.orchestrator, request, error) from error


class TooManyFailures(Unavailable):
    """Comes from an address that showed too many wrong credentials."""

    http_status = 429


def _me(caller: Caller) -> User:
    if caller.user is None:
        raise Forbidden("this token is no user's", "Use a user token.")
    return caller.user


async def _request(route: Route, http: web.Request) -> msgspec.Struct:
    try:
        async with asyncio.timeout(_BODY_S):
            body = await http.read()
        if route.method in {"POST", "PATCH"}:
            if http.query:
                raise BadInput("this call takes no query", "Put everything into the body.")
            return route.from_body(http.match_info, body)
        if body:
            raise BadInput("this call takes no body", "Put everything into the path and query.")
        query = {name: http.query.getall(name) for name in http.query}
        return route.from_query(http.match_info, query)
    except msgspec.MsgspecError as error:
        raise BadInput(f"the request is malformed: {error}") from error
    except TimeoutError:
        raise BadInput(f"the request's body did not come within {_BODY_S:.0f} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise BadInput("the request's body is too large") from None


def failed(error: DevboxError) -> web.Response:
    """An error's answer."""
    return web.Response(
        status=error.http_status,
        body=msgspec.json.encode(failure_of(error)),
        content_type="application/json",
        headers={"Retry-After": _AGAIN_S} if isinstance(error, Unavailable) else None,
    )
