"""Boxes hear of every token that ended, whatever was down when it did."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from devbox.edge.layout import ServerSettings
from devbox.model import orchestrator as o
from gateway.server import Gateway
from tests.support.gateway import KEY, House, house

pytestmark = pytest.mark.timeout(30)


@contextlib.asynccontextmanager
async def another(found: House) -> AsyncIterator[Gateway]:
    """A gateway that starts after all this."""
    settings = ServerSettings(gateway_port=0)
    gateway = Gateway(settings, found.fake, found.agent.key, agent_port=found.agent.port)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


async def alive(found: House) -> str:
    """The id of the project's token."""
    (info,) = (await found.fake.list_tokens(KEY)).tokens
    return info.id


async def test_a_gateway_that_starts_ends_what_was_revoked_without_it() -> None:
    async with house() as found:
        await found.project()
        await found.user("ada", "team")
        (ada,) = [u for u in (await found.fake.list_users(o.Nothing())).users if u.name == "ada"]
        kept = [await alive(found), f"user:{ada.token_id}"]
        found.agent.sessions = ["long-gone", *kept, "user:nobody"]
        async with another(found):
            assert await found.agent.revoked.get() == ["long-gone", "user:nobody"]


async def test_a_box_without_such_sessions_is_told_nothing() -> None:
    async with house() as found:
        await found.project()
        found.agent.sessions = [await alive(found)]
        async with another(found):
            while not found.agent.requests:
                await asyncio.sleep(0.01)
        assert found.agent.revoked.empty()


async def test_a_box_that_does_not_answer_is_asked_until_it_does() -> None:
    async with house() as found:
        await found.project()
        gone = await alive(found)
        found.agent.sessions = [gone]
        found.agent.silent = 3
        await found.fake.rotate_tokens(o.RotateTokens(namespace=KEY.namespace, name=KEY.name))
        assert await found.agent.revoked.get() == [gone]
        assert found.agent.silent == 0
        assert found.agent.requests[-1].startswith(b"POST /revoke ")


async def test_a_box_that_is_no_more_is_asked_no_longer() -> None:
    async with house() as found:
        await found.project()
        found.agent.silent = 1_000_000
        await found.fake.rotate_tokens(o.RotateTokens(namespace=KEY.namespace, name=KEY.name))
        while len(found.agent.requests) < 2:
            await asyncio.sleep(0.01)
        await found.fake.stop_project(KEY)
        while any("catch-up" in task.get_name() for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)


async def test_a_box_too_old_to_be_asked_is_left_alone() -> None:
    async with house() as found:
        await found.project()
        found.agent.too_old = True
        async with another(found):
            while not found.agent.requests:
                await asyncio.sleep(0.01)
            while any("catch-up" in task.get_name() for task in asyncio.all_tasks()):
                await asyncio.sleep(0.01)
        assert len(found.agent.requests) <= 2, "once by each gateway"
