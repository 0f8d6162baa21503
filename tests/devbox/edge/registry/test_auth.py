"""Registries that want tokens, that are out of space, and that break off."""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from devbox.edge.registry import Registry
from devbox.edge.registry.auth import Authorizer, Credentials
from devbox.edge.registry.documents import digest_of
from devbox.model.errors import NoSpace, Unauthorized, Unavailable
from tests.devbox.edge.registry.conftest import QUICK

DATA = b"a blob of some length" * 100_000


class Guarded:
    """A registry that wants a bearer token, and breaks what it is told to break."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.break_after = 0
        self.status = 200

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/token", self.token),
                web.get("/v2/", self.root),
                web.get("/v2/private/blobs/{digest}", self.blob),
                web.post("/v2/full/blobs/uploads/", self.full),
            ]
        )
        return app

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append(request.query["scope"])
        given = request.headers.get("Authorization", "")
        wanted = "Basic " + base64.b64encode(b"me:secret").decode()
        if given != wanted:
            return web.Response(status=401)
        return web.json_response({"token": "good"})

    async def root(self, request: web.Request) -> web.Response:
        return web.Response(status=self.status)

    async def full(self, request: web.Request) -> web.Response:
        return web.json_response({"errors": [{"detail": {"Err": 28}}]}, status=500)

    async def blob(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer good":
            challenge = (
                f'Bearer realm="{self.url}/token",service="it",scope="repository:private:pull"'
            )
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        self.ranges.append(request.headers.get("Range", ""))
        start = int(self.ranges[-1].removeprefix("bytes=").rstrip("-") or 0)
        body = DATA[start:]
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(body)
        await response.prepare(request)
        if self.break_after:
            await response.write(body[: self.break_after])
            self.break_after = 0
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(body)
        return response


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    guarded = Guarded()
    runner = web.AppRunner(guarded.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    guarded.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield guarded
    await runner.cleanup()


def client(guarded: Guarded, password: str) -> Registry:
    authorizer = Authorizer(Credentials(user="me", password=password))
    return Registry(guarded.url, deadlines=QUICK, authorizer=authorizer, actions="pull")


async def test_a_challenge_is_answered_once_and_the_token_kept(guarded: Guarded) -> None:
    async with client(guarded, "secret") as registry:
        for _ in range(2):
            assert await registry.read_blob("private", digest_of(DATA)) == DATA
    assert guarded.asked == ["repository:private:pull"]


async def test_a_wrong_password_is_unauthorized(guarded: Guarded) -> None:
    async with client(guarded, "wrong") as registry:
        with pytest.raises(Unauthorized) as told:
            await registry.read_blob("private", digest_of(DATA))
    assert "wrong" not in str(told.value)


async def test_a_broken_download_goes_on_where_it_was(guarded: Guarded) -> None:
    guarded.break_after = 1_000_000
    async with client(guarded, "secret") as registry:
        assert await registry.read_blob("private", digest_of(DATA)) == DATA
    assert guarded.ranges[-1].startswith("bytes=")
    assert guarded.ranges[-1] != "bytes=0-"


async def test_a_full_disk_is_told_as_such(guarded: Guarded) -> None:
    async with Registry(guarded.url, deadlines=QUICK) as registry:
        with pytest.raises(NoSpace):
            await registry.upload("full").__aenter__()


@pytest.mark.parametrize("status", [500, 502, 429])
async def test_a_broken_registry_is_unavailable(guarded: Guarded, status: int) -> None:
    guarded.status = status
    async with Registry(guarded.url, deadlines=QUICK) as registry:
        with pytest.raises(Unavailable):
            await registry.ping()


async def test_a_registry_that_says_nothing_is_unavailable() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with Registry(f"http://127.0.0.1:{port}", deadlines=QUICK) as registry:
            with pytest.raises(Unavailable, match="deadline"):
                await registry.ping()
        server.close()
