"""Where a foreign registry may lead the server: to no plain HTTP and no link-local address."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from devbox.edge.registry import Registry
from devbox.model.errors import Forbidden, Unavailable
from tests.devbox.edge.registry.conftest import QUICK
from tests.support.certificates import make_certificate


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[str]]]:
    """A plain HTTP server that only this machine reaches, and what it was asked."""
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"token": "x"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", note)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.fixture
async def evil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: tuple[str, list[str]]
) -> AsyncIterator[Registry]:
    """A registry with a good certificate that leads to the trap in every way it can."""
    files = make_certificate(tmp_path)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", files.client())
    target, _ = trap

    async def lead(request: web.Request) -> web.Response:
        if "token" in request.path:
            challenge = f'Bearer realm="{target}/token",service="x"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        raise web.HTTPTemporaryRedirect(f"{target}{request.path}")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", lead)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=files.server()).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    async with Registry(url, deadlines=QUICK) as registry:
        yield registry
    await runner.cleanup()


@pytest.mark.parametrize("repository", ["redirect/x", "token/x"])
async def test_a_registry_leads_nobody_to_plain_http(
    evil: Registry, trap: tuple[str, list[str]], repository: str
) -> None:
    with pytest.raises(Forbidden, match="by plain HTTP"):
        await evil.get_manifest(repository, "latest")
    with pytest.raises(Forbidden, match="by plain HTTP"):
        async for _ in evil.stream_blob(repository, f"sha256:{'0' * 64}"):
            pass
    assert trap[1] == []


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]"])
async def test_nothing_is_asked_of_link_local_addresses(host: str) -> None:
    async with Registry(f"http://{host}", deadlines=QUICK) as registry:
        with pytest.raises(Unavailable, match="no registry's address"):
            await registry.get_manifest("a", "b")
