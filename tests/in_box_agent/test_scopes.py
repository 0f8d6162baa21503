"""Every scope at the door of every service, in the agent: let in, or refused in a sentence."""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from devbox.model.errors import DevboxError, Forbidden
from devbox.model.grants import Scope
from in_box_agent import serve
from in_box_agent.admission import ALLOWED, may_open
from in_box_agent.surroundings import Account, Surroundings
from tests.support.box import record
from tests.support.links import SCOPE_HEADER, Pair, pair

pytestmark = pytest.mark.timeout(60)

SERVICES = ["ssh", "pty", "sync", "files", "lsp", "tcp", "reverse", "events"]
TABLE = {
    "full": "ssh pty sync files lsp tcp reverse events",
    "ssh": "ssh pty sync files tcp reverse events",
    "lsp": "lsp events",
    "ports": "tcp events",
    "read-only": "files events",
    "revoke": "",
    "ports,read-only": "tcp files events",
}
AROUND = Surroundings(Account(0, "root", "/root", ""), {"PATH": "/bin"}, "/", "/bin/sh", "/none")


@pytest.fixture
async def agent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """The agent's own desk behind links whose grants are what the test says."""
    monkeypatch.setattr(serve, "is_kept", lambda nonce: True)
    key = base64.b64encode(bytes(32)).decode()
    desk = serve.Desk(record(grant_keys=(key,)), AROUND, 4242)
    async with pair(desk.serve, may_open=may_open) as made:
        yield made


async def opening(agent: Pair, scopes: str, service: str) -> DevboxError | None:
    """What comes of opening the service; None when it answers."""
    async with agent.client(headers={SCOPE_HEADER: scopes}) as session:
        stream = await session.open(service, {})
        try:
            async with asyncio.timeout(20):
                await stream.read()
        except DevboxError as error:
            return error
    return None


@pytest.mark.parametrize("scopes", TABLE)
async def test_the_table(agent: Pair, scopes: str) -> None:
    for service in SERVICES:
        outcome = await opening(agent, scopes, service)
        if service in TABLE[scopes].split():
            assert not isinstance(outcome, Forbidden), (scopes, service)
        else:
            assert isinstance(outcome, Forbidden), (scopes, service)
            assert outcome.message == f"this token does not allow the service '{service}'"
            assert outcome.hint == "Use a token with a wider scope."


def test_the_table_is_whole() -> None:
    """A service or a scope that is new gets a line here, and no service is outside the rules."""
    assert set(ALLOWED) == set(SERVICES)
    assert {scope.value for scope in Scope} <= set(TABLE)
    desk = serve.Desk(record(), AROUND, 4242)
    assert set(desk._services) <= set(ALLOWED)
