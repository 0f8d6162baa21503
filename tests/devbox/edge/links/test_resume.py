"""What happens to sessions when links die quietly, are taken over, or stay away."""

import asyncio
import os

import pytest

from devbox.edge.links import Lane, ServerLimits, SessionState, Stream
from devbox.edge.links.conduit import Conduit
from devbox.edge.links.dial import Target, dial
from devbox.edge.links.network import Verdict
from devbox.model.errors import Conflict, Unauthorized, Unavailable
from devbox.wire.errors import LinkBroken
from devbox.wire.frames import Frame, Hello, Kind, Open, Reason, Welcome, decode, encode
from tests.support.links import TOKEN_HEADER, Pair, pair

pytestmark = pytest.mark.timeout(30)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def until(state: SessionState, agent: Pair) -> str:
    """Wait until the client was told of a state; answers why."""
    while not (told := [event for event in agent.events if event.state is state]):
        await asyncio.sleep(0.005)
    return told[0].reason


async def read_all(stream: Stream) -> None:
    while await stream.read():
        pass


async def echoed(stream: Stream, data: bytes) -> bool:
    await stream.write(data)
    got = b""
    while len(got) < len(data):
        got += await stream.read()
    return got == data


async def test_a_peer_that_is_silent_is_noticed_by_the_clock() -> None:
    clock = Clock()
    async with pair() as agent, agent.client(clock=clock) as session:
        stream = await session.open("echo")
        assert await echoed(stream, b"one")
        agent.relay.deaf = True
        session.lanes[Lane.INTERACTIVE].doubt()
        await asyncio.sleep(0.02)
        assert session.state is SessionState.LINKED
        agent.relay.deaf = False
        clock.now += 9.0
        session.lanes[Lane.INTERACTIVE].doubt()
        assert "nothing was heard" in await until(SessionState.LINKLESS, agent)
        assert await echoed(stream, b"two")


async def test_an_address_that_is_gone_is_dialled_from_another_at_once() -> None:
    told = []

    def network(changed: object) -> object:
        told.append(changed)
        return lambda: None

    verdict = lambda *_: Verdict.GONE  # noqa: E731
    async with pair() as agent, agent.client(network=network, judge=verdict) as session:
        stream = await session.open("echo")
        assert await echoed(stream, b"one")
        told[0]()  # type: ignore[operator]
        assert await echoed(stream, b"two")
        assert agent.relay.accepted == 2


async def test_a_network_that_comes_back_ends_the_wait() -> None:
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo")
        assert await echoed(stream, b"one")
        port = await agent.relay.stop()
        await until(SessionState.LINKLESS, agent)
        for _ in range(20):
            session.network_changed()
            await asyncio.sleep(0.005)
        await agent.relay.start(port)
        session.network_changed()
        assert await echoed(stream, b"two")


async def greet(agent: Pair, hello: Hello, token: str = "t1") -> tuple[Conduit, Frame]:
    link = await dial(Target(agent.url, headers={TOKEN_HEADER: token}))
    link.send(Frame(Kind.HELLO, 0, 0, encode(hello)))
    return link, await link.first()


def hello(**changes: object) -> Hello:
    fields = {
        "session": "ab" * 16, "secret": "cd" * 16, "lane": Lane.INTERACTIVE,
        "received": 0, "new": True,
    }  # fmt: skip
    return Hello(**(fields | changes))  # type: ignore[arg-type]


async def refused(agent: Pair, greeting: Hello) -> str:
    link, frame = await greet(agent, greeting)
    assert frame.kind == Kind.GOODBYE
    link.abort("test")
    return decode(frame.payload, Reason).message


async def test_a_newer_link_takes_over() -> None:
    async with pair() as agent:
        first, frame = await greet(agent, hello())
        assert decode(frame.payload, Welcome).received == 0
        second, frame = await greet(agent, hello())
        assert frame.kind == Kind.WELCOME
        async with asyncio.timeout(1.0):
            await first.lost
        assert not second.lost.done()
        assert [one.state for one in agent.server.sessions] == [SessionState.LINKED]
        second.abort("test")


async def test_who_may_take_a_session_up() -> None:
    async with pair() as agent:
        link, _ = await greet(agent, hello())
        assert "not yours" in await refused(agent, hello(secret="ee" * 16))
        assert "does not know" in await refused(agent, hello(session="ff" * 16, new=False))
        assert not link.lost.done()
        link.abort("test")


async def test_a_session_belongs_to_its_token() -> None:
    async with pair() as agent:
        link, _ = await greet(agent, hello())
        other = await dial(Target(agent.url, headers={"x-test-token": "t2"}))
        other.send(Frame(Kind.HELLO, 0, 0, encode(hello())))
        frame = await other.first()
        assert frame.kind == Kind.GOODBYE
        link.abort("test")
        other.abort("test")


async def test_a_client_of_an_agent_that_was_restarted() -> None:
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo")
        assert await echoed(stream, b"one")
        agent.server._sessions.clear()
        agent.relay.cut()
        with pytest.raises(Conflict, match="does not know this session"):
            await stream.read()
        await until(SessionState.ENDED, agent)


async def test_bounds_on_sessions() -> None:
    limits = ServerLimits(sessions=2)
    async with pair(limits=limits) as agent:
        links = [(await greet(agent, hello(session=name)))[0] for name in ("one", "two")]
        assert "2 sessions in all, which is the limit" in await refused(
            agent, hello(session="three")
        )
        links[0].abort("test")
        while all(one.state is SessionState.LINKED for one in agent.server.sessions):
            await asyncio.sleep(0.005)
        links.append((await greet(agent, hello(session="three")))[0])
        assert [one.ident for one in agent.server.sessions] == ["two", "three"]
        for link in links:
            link.abort("test")


async def test_a_token_makes_room_among_its_own_sessions() -> None:
    """However many clients of one token were killed, those of others stay."""
    limits = ServerLimits(sessions=10, sessions_per_token=2)
    async with pair(limits=limits) as agent:
        await _killed(agent, "hers", token="t2")
        await _killed(agent, "one")
        kept, _ = await greet(agent, hello(session="two"))
        await _killed(agent, "three")
        assert [one.ident for one in agent.server.sessions] == ["hers", "two", "three"]
        last, _ = await greet(agent, hello(session="four"))
        assert [one.ident for one in agent.server.sessions] == ["hers", "two", "four"]
        assert "2 sessions of this token, which is the limit" in await refused(
            agent, hello(session="five")
        )
        for link in (kept, last):
            link.abort("test")


async def _killed(agent: Pair, session: str, token: str = "t1") -> None:
    """A client that began a session and was killed."""
    link, _ = await greet(agent, hello(session=session), token)
    link.abort("SIGKILL")
    while agent.server.sessions[-1].state is SessionState.LINKED:
        await asyncio.sleep(0.005)


async def test_grace_and_memory_of_sessions_that_are_away() -> None:
    async def talkative(stream: Stream) -> None:
        await stream.write(os.urandom(stream.params["size"]))
        await asyncio.Event().wait()

    clock = Clock()
    limits = ServerLimits(kept_bytes=400_000)
    async with pair(talkative, limits=limits, clock=clock) as agent:
        for size in (200_000, 100_000, 150_000):
            await _leave(agent, size)
            clock.now += 1.0
        agent.server._sweep()
        assert [one.ident for one in agent.server.sessions] == ["100000", "150000"]
        clock.now += 24 * 3600.0
        agent.server._sweep()
        assert agent.server.sessions == []


async def test_a_session_that_is_away_with_nothing_open() -> None:
    clock = Clock()
    async with pair(clock=clock) as agent:
        link, _ = await greet(agent, hello())
        link.abort("test")
        while agent.server.sessions[0].state is SessionState.LINKED:
            await asyncio.sleep(0.005)
        clock.now += 599.0
        agent.server._sweep()
        assert len(agent.server.sessions) == 1
        clock.now += 1.0
        agent.server._sweep()
        assert agent.server.sessions == []


async def _leave(agent: Pair, size: int) -> None:
    """A client that opens a stream and goes away without GOODBYE."""
    link, _ = await greet(agent, hello(session=str(size)))
    link.send(Frame(Kind.OPEN, 1, 1, encode(Open(service="x", params={"size": size}))))
    assert (await link.first()).kind == Kind.DATA
    link.abort("test")
    while agent.server.sessions[-1].state is SessionState.LINKED:
        await asyncio.sleep(0.005)


async def test_a_client_that_closes_lets_its_last_words_arrive() -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(stream: Stream) -> None:
        parts = []
        while data := await stream.read():
            parts.append(data)
        got.set_result(b"".join(parts))

    data = os.urandom(2_000_000)
    async with pair(listen) as agent:
        async with agent.client() as session:
            stream = await session.open("x", lane=Lane.BULK)
            await stream.write(data)
            await stream.close()
        assert await got == data


async def test_goodbye_ends_the_agents_session_at_once() -> None:
    async with pair() as agent:
        async with agent.client() as session:
            stream = await session.open("echo")
            assert await echoed(stream, b"x")
        while agent.server.sessions:
            await asyncio.sleep(0.005)


async def test_a_bulk_link_that_cannot_be_had_is_not_needed() -> None:
    async with pair() as agent, agent.client() as session:
        stream = await session.open("echo")
        assert await echoed(stream, b"x")
        agent.relay.refuse = True
        bulk = await session.open("echo", lane=Lane.BULK)
        assert bulk.lane is Lane.INTERACTIVE
        assert await echoed(bulk, os.urandom(600_000))


async def test_a_peer_that_breaks_the_protocol_is_told() -> None:
    async with pair() as agent:
        link, _ = await greet(agent, hello())
        link.send(Frame(Kind.DATA, 9, 1, b"x"))
        frame = await link.first()
        assert frame.kind == Kind.GOODBYE
        assert "never opened" in decode(frame.payload, Reason).message
        assert agent.server.sessions == []
        link.abort("test")


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Kind.DATA, 1, 1, b"x"),
        Frame(Kind.HELLO, 0, 0, b"[]"),
        Frame(Kind.HELLO, 0, 0, b"\xff"),
        Frame(Kind.HELLO, 0, 0, b"[" * 5000),
    ],
    ids=["DATA first", "a list", "not UTF-8", "deep JSON"],
)
async def test_a_malformed_greeting(frame: Frame) -> None:
    async with pair() as agent:
        link = await dial(Target(agent.url))
        link.send(frame)
        assert (await link.first()).kind == Kind.GOODBYE
        with pytest.raises(LinkBroken):
            await link.first()
        assert agent.server.sessions == []


async def test_streams_opened_by_the_hundred() -> None:
    async with pair() as agent, agent.client() as session:
        streams = [await session.open("echo", {"at": at}) for at in range(100)]
        agent.relay.budget = 3000
        answers = await asyncio.gather(*(echoed(one, os.urandom(5000)) for one in streams))
        assert all(answers)
        for stream in streams:
            await stream.close()
        with pytest.raises(Unavailable, match="closed"):
            await streams[0].write(b"x")


async def test_a_grant_signed_before_its_token_was_revoked() -> None:
    clock = Clock()
    async with pair(clock=clock) as agent:
        await agent.server.end_tokens({"t1"})
        assert "revoked" in await refused(agent, hello())
        clock.now += 61.0
        link, frame = await greet(agent, hello())
        assert frame.kind == Kind.WELCOME
        link.abort("test")


async def test_the_agent_going_down_says_so_and_ends_services() -> None:
    cancelled = asyncio.Event()

    async def service(stream: Stream) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with pair(service) as agent, agent.client() as session:
        stream = await session.open("x")
        while not agent.server.sessions[0].lanes[Lane.INTERACTIVE].core.streams:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)
        await agent.server.close()
        assert cancelled.is_set()
        with pytest.raises(Unavailable, match="going down"):
            await stream.read()


async def test_goodbye_arrives_behind_much_data() -> None:
    async def flood(stream: Stream) -> None:
        while True:
            await stream.write(bytes(100_000))

    async with pair(flood) as agent, agent.client() as session:
        stream = await session.open("x", lane=Lane.BULK)
        await stream.read()
        await asyncio.sleep(0.05)
        await agent.server.end_tokens({"t1"})
        with pytest.raises(Unauthorized, match="revoked"):
            await read_all(stream)
        assert agent.relay.accepted == 2
