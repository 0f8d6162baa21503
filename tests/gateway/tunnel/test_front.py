"""Tunnels, as a client and a box see them."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator

import pytest

from devbox.model import orchestrator as o
from devbox.model.grants import GRANT_HEADER, Scope
from devbox.model.projects import Phase
from gateway.server import Bounds
from gateway.tunnel.box import Patience
from tests.support.gateway import KEY, Dialled, House, house, upgrade

PLACE = "/home/here/team/hello"
WRONG = "0" * 32


@pytest.fixture
async def open_house() -> AsyncIterator[House]:
    async with house() as found:
        yield found


@pytest.mark.smoke
async def test_an_address_opens_a_tunnel_to_the_box(open_house: House) -> None:
    created = await open_house.project()
    async with await open_house.dial(f"{PLACE}/{created.token}") as client:
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.echo(b"hello") == b"hello"
    (grant,) = open_house.agent.grants
    assert grant.scopes == (Scope.FULL,)
    assert grant.project_uid == created.project.uid
    (info,) = (await open_house.fake.list_tokens(KEY)).tokens
    assert grant.token_id == info.id


async def test_the_box_sees_a_new_request_without_the_credential(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(
        PLACE, token, Cookie="a=b", X_Forwarded_For="1.2.3.4"
    ) as client:
        await client.head()
    (request,) = open_house.agent.requests
    text = request.decode()
    assert text.startswith("GET /session HTTP/1.1\r\n")
    assert token not in text
    names = {line.split(":")[0].lower() for line in text.split("\r\n")[1:] if line}
    assert names == {
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        GRANT_HEADER.lower(),
    }


async def test_bytes_before_and_with_the_answer_arrive(open_house: House) -> None:
    token = (await open_house.project()).token
    open_house.agent.greeting = b"welcome"
    reader, writer = await asyncio.open_connection(open_house.host, open_house.port)
    for byte in upgrade(f"{PLACE}/{token}") + b"early":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    assert await reader.readexactly(12) == b"welcomeearly"
    writer.transport.abort()


async def test_scopes_travel_and_users_get_all(open_house: House) -> None:
    await open_house.project()
    narrow = await open_house.fake.new_token(
        o.NewToken(namespace="team", name="hello", token_name="x", scopes=(Scope.LSP,))
    )
    user = await open_house.user("ada", "team")
    for bearer in (narrow.token, user, open_house.fake.admin_token):
        async with await open_house.dial(PLACE, bearer) as client:
            assert b" 101 " in await client.head()
    first, second, _ = open_house.agent.grants
    assert (first.token_id, first.scopes) == (narrow.info.id, (Scope.LSP,))
    users = {u.name: u.token_id for u in (await open_house.fake.list_users(o.Nothing())).users}
    assert (second.token_id, second.scopes) == (f"user:{users['ada']}", (Scope.FULL,))


async def _refused(house_: House, path: str, bearer: str = "") -> tuple[int, bytes]:
    status, _, everything = await (await house_.dial(path, bearer)).refusal()
    return status, everything


async def test_every_wrong_credential_gets_the_same_answer(open_house: House) -> None:
    other = await open_house.project(o.ProjectKey(namespace="team", name="other"))
    await open_house.project()
    await open_house.project(o.ProjectKey(namespace="team", name="halted"), start=False)
    answers = {
        await _refused(open_house, f"{PLACE}/{WRONG}"),
        await _refused(open_house, f"{PLACE}/{other.token}"),
        await _refused(open_house, f"{PLACE}/{open_house.fake.admin_token}"),
        await _refused(open_house, f"/home/here/team/none/{WRONG}"),
        await _refused(open_house, f"/home/here/team/halted/{WRONG}"),
        await _refused(open_house, f"/else/where/team/hello/{WRONG}"),
        await _refused(open_house, PLACE),
        await _refused(open_house, PLACE, WRONG),
        await _refused(open_house, "/home/here/team/none", WRONG),
        await _refused(open_house, PLACE, other.token),
    }
    assert len(answers) == 1
    ((status, _),) = answers
    assert status == 401
    assert not any(name == "start_project" for name, _ in open_house.fake.calls)


async def test_a_wrong_token_costs_the_same_calls_as_an_unknown_project(
    open_house: House,
) -> None:
    await open_house.project()
    asked = []
    for path in (f"{PLACE}/{WRONG}", f"/home/here/team/none/{WRONG}"):
        open_house.fake.calls.clear()
        await _refused(open_house, path)
        asked.append([name for name, _ in open_house.fake.calls])
    assert asked[0] == asked[1] == ["check_token"]


async def test_somebody_elses_project_is_missing_like_any_other(open_house: House) -> None:
    await open_house.project()
    user = await open_house.user("eve", "garden")
    status, body, _ = await (await open_house.dial(PLACE, user)).refusal()
    assert (status, body["message"]) == (404, "there is no project team/hello")
    mine = await (await open_house.dial("/home/here/garden/hello", user)).refusal()
    assert mine[:2] == (404, {**body, "message": "there is no project garden/hello"})


async def test_another_cluster_is_told_to_those_who_may_know(open_house: House) -> None:
    token = (await open_house.project()).token
    status, body, _ = await (await open_house.dial(f"/else/here/team/hello/{token}")).refusal()
    assert status == 404
    assert "/else/here" in body["message"]
    assert token not in json.dumps(body)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/home/here/team", "parts"),
        ("/home/here/Team/hello", "namespace"),
        (f"/home/here/team/hello/{'0' * 31}", "token"),
        (f"/home/here/team/hello/{WRONG}?a=b", "query"),
    ],
)
async def test_malformed_addresses_say_what_is_wrong(
    open_house: House, path: str, word: str
) -> None:
    status, body, _ = await (await open_house.dial(path, WRONG)).refusal()
    assert status == 400
    assert word in body["message"]


async def test_connecting_starts_a_stopped_project(open_house: House) -> None:
    token = (await open_house.project(start=False)).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        assert b" 101 " in await client.head()
    assert (await open_house.fake.get_project(KEY)).status.phase is Phase.RUNNING


async def test_a_slow_start_is_waited_for() -> None:
    async with house(node_works=False) as slow:
        token = (await slow.project(start=False)).token
        async with await slow.dial(f"{PLACE}/{token}") as client:
            answer = asyncio.get_running_loop().create_task(client.head())
            await _started(slow)
            slow.fake.set_status(KEY, phase=Phase.STARTING)
            slow.fake.set_status(KEY, phase=Phase.RUNNING, box_ip="127.0.0.1")
            async with asyncio.timeout(0.9):  # it is told, and does not wait for the next poll
                assert b" 101 " in await answer


async def _started(slow: House) -> None:
    async with asyncio.timeout(5):
        while not any(name == "start_project" for name, _ in slow.fake.calls):
            await asyncio.sleep(0.01)


async def test_a_start_that_takes_too_long_says_so() -> None:
    async with house(node_works=False, bounds=Bounds(patience=Patience(start=0.1))) as slow:
        token = (await slow.project(start=False)).token
        slow.fake.set_status(KEY, message="the image is being fetched")
        status, body, everything = await (await slow.dial(f"{PLACE}/{token}")).refusal()
        assert status == 503
        assert "the image is being fetched" in body["message"]
        assert b"Retry-After: 5" in everything


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.BACKING_OFF])
async def test_a_box_that_cannot_run_says_why(open_house: House, phase: Phase) -> None:
    token = (await open_house.project()).token
    open_house.fake.set_status(KEY, phase=phase, box_ip="", message="its disk is full")
    status, body, _ = await (await open_house.dial(f"{PLACE}/{token}")).refusal()
    assert (status, "its disk is full" in body["message"]) == (503, True)


async def test_an_agent_that_does_not_listen_is_told() -> None:
    async with house(bounds=Bounds(patience=Patience(dial=0.2))) as deaf:
        token = (await deaf.project()).token
        deaf.fake.set_status(KEY, box_ip="127.1.2.3")
        status, body, _ = await (await deaf.dial(f"{PLACE}/{token}")).refusal()
        assert (status, "agent does not answer" in body["message"]) == (503, True)


@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        (b"the upper is not the kept one", 503, "not the kept one"),
        (b'{"code":"forbidden","message":"not with this scope","hint":""}', 403, "scope"),
        (b'{"code":"unauthorized","message":"the grant is not valid"}', 500, "grant"),
    ],
)
async def test_what_the_box_refuses_reaches_the_client(
    open_house: House, said: bytes, status: int, word: str
) -> None:
    token = (await open_house.project()).token
    open_house.agent.answer = b"HTTP/1.1 503 No\r\n\r\n" + said
    got, body, _ = await (await open_house.dial(f"{PLACE}/{token}")).refusal()
    assert got == status
    assert word in body["message"]


# The relay


async def test_many_bytes_both_ways(open_house: House) -> None:
    token = (await open_house.project()).token
    data = os.urandom(8 << 20)
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        reading = asyncio.get_running_loop().create_task(client.reader.readexactly(len(data)))
        client.writer.write(data)
        assert await reading == data


async def test_an_end_passes_on_and_the_rest_comes_back(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        client.writer.write(b"last words")
        client.writer.write_eof()
        assert await client.reader.read() == b"last words"
    assert await open_house.agent.ends.get() == "eof"
    assert len(open_house.gateway.links) == 0


async def test_a_reset_passes_on_as_a_reset(open_house: House) -> None:
    token = (await open_house.project()).token
    client = await open_house.dial(f"{PLACE}/{token}")
    await client.head()
    await client.echo(b"x")
    client.reset()
    async with asyncio.timeout(5):
        assert await open_house.agent.ends.get() == "ConnectionResetError"


async def test_a_box_that_goes_takes_the_link_along(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        await client.echo(b"x")
        open_house.agent.writers[-1].close()
        assert await client.reader.read() == b""


async def test_a_slow_reader_stops_its_sender(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        sent = await _send_until_stopped(client, 256 << 20)
        assert sent < 256 << 20
        back = await client.reader.readexactly(sent)
        assert len(back) == sent


async def _send_until_stopped(client: Dialled, most: int) -> int:
    sent = 0
    while sent < most:
        client.writer.write(b"x" * (1 << 20))
        sent += 1 << 20
        try:
            async with asyncio.timeout(0.3):
                await client.writer.drain()
        except TimeoutError:
            break
    return sent


# Bounds


async def test_wrong_credentials_are_counted() -> None:
    async with house(bounds=Bounds(failures_per_minute=3)) as strict:
        token = (await strict.project()).token
        for _ in range(3):
            assert (await _refused(strict, f"{PLACE}/{WRONG}"))[0] == 401
        status, everything = await _refused(strict, f"{PLACE}/{token}")
        assert status == 429
        assert b"Retry-After: " in everything


async def test_links_of_a_token_are_counted() -> None:
    async with house(bounds=Bounds(links_per_token=1)) as strict:
        token = (await strict.project()).token
        async with await strict.dial(f"{PLACE}/{token}") as first:
            await first.head()
            assert (await _refused(strict, f"{PLACE}/{token}"))[0] == 429
            first.writer.write_eof()
            await first.reader.read()
        async with await strict.dial(f"{PLACE}/{token}") as second:
            assert b" 101 " in await second.head()


async def test_links_of_a_client_are_counted() -> None:
    async with house(bounds=Bounds(links_per_client=1)) as strict:
        await strict.project()
        tokens = [await strict.user(name, "team") for name in ("ada", "bob")]
        async with await strict.dial(PLACE, tokens[0]) as first:
            await first.head()
            assert (await _refused(strict, PLACE, tokens[1]))[0] == 429
            assert await first.echo(b"still here") == b"still here"
            first.writer.write_eof()
            await first.reader.read()
        async with await strict.dial(PLACE, tokens[1]) as second:
            assert b" 101 " in await second.head()


async def test_a_head_that_does_not_end_is_dropped() -> None:
    async with house(bounds=Bounds(head_s=0.05)) as strict:
        reader, writer = await asyncio.open_connection(strict.host, strict.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with _ended():
            assert await reader.read() == b""
        writer.close()


class _ended:  # noqa: N801 - reads as a word in the test above
    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, *_: object) -> bool:
        return kind is ConnectionResetError


async def test_a_head_that_is_too_long_is_refused(open_house: House) -> None:
    reader, writer = await asyncio.open_connection(open_house.host, open_house.port)
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"a" * (17 << 10))
    assert (await reader.read(64)).startswith(b"HTTP/1.1 431 ")
    writer.transport.abort()


async def test_many_who_send_nothing_delay_nobody() -> None:
    async with house(bounds=Bounds(waiting_heads=50)) as strict:
        token = (await strict.project()).token
        slow = [await asyncio.open_connection(strict.host, strict.port) for _ in range(80)]
        for _, writer in slow:
            writer.write(b"GET /")
        async with asyncio.timeout(2), await strict.dial(f"{PLACE}/{token}") as client:
            assert b" 101 " in await client.head()
        for _, writer in slow:
            writer.transport.abort()


# Revocation and drain


async def test_rotating_closes_links_and_tells_the_box(open_house: House) -> None:
    created = await open_house.project()
    keep = await open_house.user("ada", "team")
    async with (
        await open_house.dial(f"{PLACE}/{created.token}") as lost,
        await open_house.dial(PLACE, keep) as kept,
    ):
        await lost.head()
        await kept.head()
        (info,) = (await open_house.fake.list_tokens(KEY)).tokens
        await open_house.fake.rotate_tokens(o.RotateTokens(namespace="team", name="hello"))
        async with asyncio.timeout(1):
            with _ended():
                assert await lost.reader.read() == b""
            assert info.id in await open_house.agent.revoked.get()
        assert await kept.echo(b"still here") == b"still here"


async def test_a_deleted_user_loses_links(open_house: House) -> None:
    await open_house.project()
    token = await open_house.user("ada", "team")
    async with await open_house.dial(PLACE, token) as client:
        await client.head()
        await open_house.fake.delete_user(o.UserKey(name="ada"))
        async with asyncio.timeout(1):
            with _ended():
                assert await client.reader.read() == b""
            told = await open_house.agent.revoked.get()
    assert open_house.agent.grants[0].token_id in told


async def test_a_deleted_project_loses_links(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        await open_house.fake.delete_project(KEY)
        async with asyncio.timeout(1):
            with _ended():
                assert await client.reader.read() == b""


async def test_after_a_gap_every_link_is_checked_again(open_house: House) -> None:
    created = await open_house.project()
    keep = await open_house.user("ada", "team")
    async with (
        await open_house.dial(f"{PLACE}/{created.token}") as lost,
        await open_house.dial(PLACE, keep) as kept,
    ):
        await lost.head()
        await kept.head()
        await open_house.fake.rotate_tokens(o.RotateTokens(namespace="team", name="hello"))
        open_house.fake.forget_history()
        async with asyncio.timeout(2):
            with _ended():
                assert await lost.reader.read() == b""
        assert await kept.echo(b"x") == b"x"


async def test_a_right_that_ends_while_the_box_starts_opens_nothing() -> None:
    async with house(node_works=False) as slow:
        created = await slow.project(start=False)
        client = await slow.dial(f"{PLACE}/{created.token}")
        await _started(slow)
        await slow.fake.rotate_tokens(o.RotateTokens(namespace="team", name="hello"))
        slow.fake.set_status(KEY, phase=Phase.RUNNING, box_ip="127.0.0.1")
        with _ended():
            assert b"101" not in await client.reader.read()
        client.writer.close()
        assert len(slow.gateway.links) == 0


async def test_a_client_that_goes_while_the_box_starts_leaves_nothing() -> None:
    async with house(node_works=False) as slow:
        token = (await slow.project(start=False)).token
        client = await slow.dial(f"{PLACE}/{token}")
        await _started(slow)
        client.reset()
        async with asyncio.timeout(5):
            while slow.gateway.places.total:
                await asyncio.sleep(0.01)
        assert slow.agent.requests == []


async def test_a_drain_cuts_link_after_link() -> None:
    """The first to come goes first; the last is served until its turn. Nobody new comes in."""
    async with house(bounds=Bounds(drain_s=2.0)) as found:
        token = (await found.project()).token
        clients = [await found.dial(f"{PLACE}/{token}") for _ in range(20)]
        for client in clients:
            await client.head()
        closing = asyncio.get_running_loop().create_task(found.gateway.close())
        with _ended():
            assert await clients[0].reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(found.host, found.port)
        assert await clients[-1].echo(b"still here") == b"still here"
        await closing
        for client in clients:
            with _ended():
                assert await client.reader.read() == b""
            client.writer.transport.abort()


async def test_a_drain_of_few_links_is_soon_over(open_house: House) -> None:
    token = (await open_house.project()).token
    async with await open_house.dial(f"{PLACE}/{token}") as client:
        await client.head()
        began = time.monotonic()
        await open_house.gateway.close()
        assert time.monotonic() - began < 3
        with _ended():
            assert await client.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(open_house.host, open_house.port)
