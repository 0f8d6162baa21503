"""The HTTP server behind the front: API, pages, health, the access log."""

import logging
import time

import structlog
from aiohttp import web

from devbox.edge.routes import PREFIX
from devbox.model.errors import BadInput, NotFound, Unavailable
from gateway.api.handlers import Api, Handler, failed
from gateway.secrecy import without_secret
from gateway.web import pages

_log = structlog.get_logger()
_BODY_BYTES = 1 << 20
_KEEPALIVE_S = 15.0
_DRAIN_S = 2.0
_METHOD_NOT_ALLOWED = 405


def application(api: Api) -> web.Application:
    """All that is not a tunnel."""
    app = web.Application(client_max_size=_BODY_BYTES, middlewares=[_logged, _in_our_words])
    app.add_routes(api.routes())

    async def home(_: web.Request) -> web.Response:
        return pages.home(api.about.cluster, api.about.region)

    async def unnamed(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "devbox"

    app.on_response_prepare.append(unnamed)
    app.router.add_get("/", home)
    app.router.add_get("/healthz", _healthy)
    return app


def runner(app: web.Application) -> web.AppRunner:
    """Serves no socket itself: the front gives it connections.

    aiohttp's own log may repeat request lines and with them tokens: it stays silent, and the
    middleware here logs instead.
    """
    silent = logging.getLogger("gateway.aiohttp")
    silent.propagate = False
    silent.addHandler(logging.NullHandler())
    return web.AppRunner(
        app,
        access_log=None,
        logger=silent,
        keepalive_timeout=_KEEPALIVE_S,
        shutdown_timeout=_DRAIN_S,
    )


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


@web.middleware
async def _logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    began = time.monotonic()
    status = 500
    try:
        response = await handler(request)
        status = response.status
    finally:
        _log.info(
            "request",
            method=request.method,
            path=without_secret(request.path),
            status=status,
            client=request.remote,
            s=round(time.monotonic() - began, 4),
        )
    return response


@web.middleware
async def _in_our_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() == "websocket":
        answer = failed(
            Unavailable("a tunnel needs a connection of its own", "Dial anew for each tunnel.")
        )
        answer.force_close()
        return answer
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith(f"{PREFIX}/"):
            return pages.missing()
        if error.status == _METHOD_NOT_ALLOWED:
            return failed(BadInput(f"{request.method} does not fit this path"))
        return failed(NotFound("there is no such call", f"{PREFIX}/openapi.json lists all."))
