"""Two gateways, one Orchestrator, one box with the real agent's door: rights end everywhere."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from devbox.edge.layout import ServerSettings
from devbox.edge.links import ClientSession, SessionState, Stream, Target, connect, listen
from devbox.model import orchestrator as o
from devbox.model.errors import NotFound, Unauthorized
from gateway.server import Gateway
from in_box_agent import serve
from in_box_agent.surroundings import Account, Surroundings
from tests.support.box import record
from tests.support.gateway import KEY, House, house

pytestmark = pytest.mark.timeout(60)

AROUND = Surroundings(Account(0, "root", "/root", ""), {"PATH": "/bin"}, "/", "/bin/sh", "/none")


@dataclass
class Stage:
    """The first gateway's house, its project and the agent in it."""

    found: House
    desk: serve.Desk
    token: str

    def url(self, port: int) -> str:
        return f"ws://127.0.0.1:{port}/home/here/team/hello"

    def session(
        self, port: int, token: str = ""
    ) -> "contextlib.AbstractAsyncContextManager[ClientSession]":
        return connect("", target=Target(self.url(port), token or self.token))

    async def first_id(self) -> str:
        return (await self.found.fake.list_tokens(KEY)).tokens[0].id


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(serve, "is_kept", lambda nonce: True)
    async with house() as found:
        found.fake.box_ip = "127.0.0.3"
        made = await found.project()
        public = found.agent.key.public_key().public_bytes_raw()
        start = record(
            project_uid=made.project.uid, grant_keys=(base64.b64encode(public).decode(),)
        )
        desk = serve.Desk(start, AROUND, found.agent.port)
        listener = await listen(
            "127.0.0.3", found.agent.port, desk.sessions, verify=desk.verify, routes=desk.routes
        )
        try:
            yield Stage(found, desk, made.token)
        finally:
            await listener.close()
            await desk.sessions.close()


@contextlib.asynccontextmanager
async def replica(stage: Stage) -> AsyncIterator[int]:
    """Another gateway; its port."""
    found = stage.found
    settings = ServerSettings(gateway_port=0)
    gateway = Gateway(settings, found.fake, found.agent.key, agent_port=found.agent.port)
    _, port = await gateway.start()
    try:
        yield port
    finally:
        await gateway.close()


async def events(session: ClientSession) -> Stream:
    """A stream that stays open, once it answers."""
    stream = await session.open("events")
    assert await stream.read()
    return stream


async def ended(stream: Stream) -> None:
    while await stream.read():
        pass


async def test_a_revoked_token_loses_links_and_sessions_on_every_replica(stage: Stage) -> None:
    user = await stage.found.user("ada", "team")
    async with (
        replica(stage) as second,
        stage.session(stage.found.port) as one,
        stage.session(second) as two,
        stage.session(second, user) as hers,
    ):
        mine = [await events(one), await events(two)]
        await events(hers)
        revoked = await stage.first_id()
        await stage.found.fake.revoke_token(
            o.RevokeToken(namespace="team", name="hello", token_id=revoked)
        )
        for stream in mine:
            with pytest.raises(Unauthorized):
                await ended(stream)
        while revoked in stage.desk.sessions.token_ids:
            await asyncio.sleep(0.01)
        assert len(stage.desk.sessions.sessions) == 1
        assert hers.state is SessionState.LINKED


async def test_a_deleted_project_loses_links_on_every_replica(stage: Stage) -> None:
    async with (
        replica(stage) as second,
        stage.session(stage.found.port) as one,
        stage.session(second) as two,
    ):
        streams = [await events(one), await events(two)]
        await stage.found.fake.delete_project(KEY)
        for stream in streams:
            with pytest.raises((NotFound, Unauthorized)):
                await ended(stream)


async def test_what_was_revoked_while_no_gateway_ran_does_not_come_back(stage: Stage) -> None:
    async with stage.session(stage.found.port) as session:
        stream = await events(session)
        await stage.found.gateway.close()
        revoked = await stage.first_id()
        await stage.found.fake.revoke_token(
            o.RevokeToken(namespace="team", name="hello", token_id=revoked)
        )
        assert stage.desk.sessions.token_ids == (revoked,)
        settings = ServerSettings(gateway_port=stage.found.port)
        again = Gateway(
            settings, stage.found.fake, stage.found.agent.key, agent_port=stage.found.agent.port
        )
        await again.start()
        try:
            with pytest.raises(Unauthorized):
                await ended(stream)
            while stage.desk.sessions.sessions:
                await asyncio.sleep(0.01)
        finally:
            await again.close()


async def test_a_token_that_ends_takes_its_session_along_without_any_gateway(
    stage: Stage,
) -> None:
    made = await stage.found.fake.new_token(
        o.NewToken(namespace="team", name="hello", token_name="short", lifetime_s=1.5)
    )
    session = stage.session(stage.found.port, made.token)
    async with contextlib.AsyncExitStack() as stack:
        await events(await stack.enter_async_context(session))
        (there,) = stage.desk.sessions.sessions
        await stage.found.gateway.close()
        await there.ended.wait()
        assert there.error is not None
        assert "expired" in there.error.message
        assert stage.desk.sessions.sessions == []


async def test_a_token_that_ends_tells_its_client_why(stage: Stage) -> None:
    made = await stage.found.fake.new_token(
        o.NewToken(namespace="team", name="hello", token_name="short", lifetime_s=1.0)
    )
    async with stage.session(stage.found.port, made.token) as session:
        with pytest.raises(Unauthorized, match="expired"):
            await ended(await events(session))
