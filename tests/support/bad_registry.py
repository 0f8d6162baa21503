"""A door in front of a real registry that misbehaves on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

MODES = ("500", "401", "hanging", "truncated", "damaged")
_HEADERS = ("Content-Type", "Content-Range", "Range", "Accept")
_LARGE = 512


class BadRegistry:
    """Passes everything on while `mode` is empty."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._http: aiohttp.ClientSession | None = None
        self.mode = ""
        self.port = 0
        self.misbehaved = asyncio.Event()
        self._back = asyncio.Event()

    @property
    def url(self) -> str:
        """Of the door."""
        return f"http://127.0.0.1:{self.port}"

    def turn(self, mode: str) -> None:
        """Behave so from now on; who hangs is cut off."""
        self.mode = mode
        self._back.set()
        self._back = asyncio.Event()
        self.misbehaved.clear()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        if self.mode in {"500", "401"}:
            self.misbehaved.set()
            return web.Response(status=int(self.mode), text="no")
        if self.mode == "hanging":
            self.misbehaved.set()
            await self._back.wait()
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        body = await request.read()
        if self.mode and request.method in {"PATCH", "PUT"} and len(body) > _LARGE:
            self.misbehaved.set()
            if self.mode == "truncated":
                await self._pass(request, body[: len(body) // 2])
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            body = bytes([body[0] ^ 1]) + body[1:]
        return await self._pass(request, body)

    async def _pass(self, request: web.Request, body: bytes) -> web.Response:
        assert self._http is not None
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        if len(body) != int(request.headers.get("Content-Length", len(body))):
            headers.pop("Content-Range", None)
        async with self._http.request(
            request.method,
            self._behind + request.path_qs,
            data=body or None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            told = await answer.read()
            given = {n: v for n, v in answer.headers.items() if n not in {"Transfer-Encoding"}}
            if "Location" in given:
                given["Location"] = given["Location"].replace(self._behind, self.url)
            if request.method == "HEAD":
                return _Head(status=answer.status, headers=given)
            given.pop("Content-Length", None)
            return web.Response(status=answer.status, body=told, headers=given)

    async def open(self) -> web.AppRunner:
        """Listen on a free port."""
        self._http = aiohttp.ClientSession()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def close(self) -> None:
        """Cut everybody off."""
        self.turn("")
        if self._http is not None:
            await self._http.close()


class _Head(web.Response):
    """Keeps the Content-Length of what it does not send."""


@contextlib.asynccontextmanager
async def bad_registry(behind: str) -> AsyncIterator[BadRegistry]:
    """Listens while the block runs."""
    door = BadRegistry(behind)
    runner = await door.open()
    try:
        yield door
    finally:
        await door.close()
        await runner.cleanup()
