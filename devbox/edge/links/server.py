"""The agent's side: sessions, who may take them up again, and how many are kept."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from devbox.edge.links.conduit import Conduit
from devbox.edge.links.sessions import Clock, Session, boot_clock
from devbox.edge.links.streams import Stream
from devbox.edge.log import get_logger
from devbox.edge.tasks import Tasks
from devbox.model.errors import (
    BadInput,
    Conflict,
    DevboxError,
    Forbidden,
    Internal,
    Unauthorized,
    Unavailable,
)
from devbox.model.grants import GRANT_SECONDS, Grant, Scope
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import VERSION, Frame, Hello, Kind, Welcome, decode, encode, reason_of
from devbox.wire.states import LinkMove, SessionMove, SessionState

_log = get_logger()
_HELLO_S = 10.0
_SWEEP_S = 60.0

Handler = Callable[[Stream], Awaitable[None]]
MayOpen = Callable[[str, tuple[Scope, ...]], bool]


@dataclass(frozen=True)
class ServerLimits:
    """What an agent keeps for clients that are away."""

    grace_s: float = 24 * 3600.0
    """A session without a link lives this long."""
    empty_s: float = 600.0
    """One that has no open stream either: long enough to fetch the last bytes."""
    sessions: int = 256
    """All sessions; to make room, those without a link go first, oldest first."""
    sessions_per_token: int = 128
    """Of one token, which makes room among its own: it cannot crowd out the others'."""
    kept_bytes: int = 256 << 20
    """Memory of all sessions without a link."""


class AgentSession(Session):
    """One client's session at the agent. `grant` is the one that began it."""

    def __init__(self, hello: Hello, grant: Grant, server: "SessionServer") -> None:
        super().__init__(hello.session, opens=False, clock=server.clock)
        self.grant = grant
        self.left_at = server.clock()
        """When its last link was lost."""
        self._secret_hash = _hash(hello.secret)
        self._server = server

    def belongs_to(self, hello: Hello, grant: Grant) -> bool:
        """Whether a later HELLO is of the same client and token, in constant time."""
        same = hmac.compare_digest(_hash(hello.secret), self._secret_hash)
        return same & hmac.compare_digest(grant.token_id.encode(), self.grant.token_id.encode())

    def opened(self, stream: Stream) -> None:
        """Give the stream to the handler, if the grant allows its service."""
        self.tasks.start(self._server.run(stream, self.grant.scopes), f"stream-{stream.service}")

    def finish(self, error: DevboxError, move: SessionMove) -> None:
        """Also stop the handlers."""
        super().finish(error, move)
        self._server.forget(self)

    def _lost(self) -> None:
        super()._lost()
        self.left_at = self.clock()


class SessionServer:
    """All sessions of one agent."""

    def __init__(
        self,
        handler: Handler,
        *,
        may_open: MayOpen,
        limits: ServerLimits = ServerLimits(),
        clock: Clock = boot_clock,
        wall: Clock = time.time,
    ) -> None:
        self._wall = wall
        self._handler = handler
        self._may_open = may_open
        self._limits = limits
        self._sessions: dict[str, AgentSession] = {}
        self._revoked: dict[str, float] = {}
        self._tasks = Tasks("sessions")
        self._sweeper: asyncio.Task[None] | None = None
        self.clock = clock

    @property
    def sessions(self) -> list[AgentSession]:
        """Those that have not ended."""
        return list(self._sessions.values())

    @property
    def token_ids(self) -> tuple[str, ...]:
        """Whose sessions these are."""
        return tuple(sorted({one.grant.token_id for one in self.sessions}))

    async def serve_link(self, link: Conduit, grant: Grant) -> None:
        """Greet and serve an upgraded connection until it is lost. `grant` was verified."""
        try:
            async with asyncio.timeout(_HELLO_S):
                frame = await link.first()
            session, hello = self._session(frame, grant)
        except (TimeoutError, LinkBroken) as error:
            link.abort(f"no greeting: {error}")
            return
        except DevboxError as error:
            link.send(Frame(Kind.GOODBYE, 0, 0, encode(reason_of(error))))
            link.close(LinkMove.GOODBYE)
            return
        await self._serve(link, session, hello)

    async def _serve(self, link: Conduit, session: AgentSession, hello: Hello) -> None:
        received = session.lanes[hello.lane].core.received
        link.send(Frame(Kind.WELCOME, 0, 0, encode(Welcome(received=received))))
        try:
            reason = await session.use(link, hello.lane, hello.received)
            _log.info("link_lost", session=session.ident[:8], lane=hello.lane, reason=reason)
        except ProtocolError as error:
            session.fault(error)

    def _session(self, frame: Frame, grant: Grant) -> tuple[AgentSession, Hello]:
        """The session that a HELLO means. Raises DevboxError for the client."""
        if frame.kind != Kind.HELLO:
            raise ProtocolError("a link began without HELLO")
        hello = decode(frame.payload, Hello)
        if hello.version != VERSION:
            raise BadInput(
                f"the client speaks version {hello.version} of the protocol, the box {VERSION}",
                "Update the older one: `pip install -U devbox`, or restart the project.",
            )
        if self._revoked.get(grant.token_id, 0.0) > self.clock():
            raise _revoked()
        session = self._sessions.get(hello.session)
        if session is not None:
            if not session.belongs_to(hello, grant):
                raise Unauthorized("the session is not yours")
            return session, hello
        if not hello.new:
            raise Conflict(
                "the box does not know this session any more",
                "The box was restarted or you were away too long. Its files are safe; "
                "connect again.",
            )
        return self._begin(hello, grant), hello

    def _begin(self, hello: Hello, grant: Grant) -> AgentSession:
        self._sweep()
        mine = [one for one in self.sessions if one.grant.token_id == grant.token_id]
        self._make_room(mine, self._limits.sessions_per_token, "of this token")
        self._make_room(self.sessions, self._limits.sessions, "in all")
        session = self._sessions[hello.session] = AgentSession(hello, grant, self)
        if grant.until:
            session.tasks.start(self._end_in_time(session), "until")
        if self._sweeper is None:
            self._sweeper = self._tasks.start(self._sweep_often(), "sweep")
        _log.info("session_began", session=session.ident[:8], token_id=grant.token_id)
        return session

    # -- streams

    async def run(self, stream: Stream, scopes: tuple[Scope, ...]) -> None:
        """One stream, from its opening to its end. For AgentSession."""
        try:
            if not self._may_open(stream.service, scopes):
                raise Forbidden(
                    f"this token does not allow the service '{stream.service}'",
                    "Use a token with a wider scope.",
                )
            await self._handler(stream)
        except DevboxError as error:
            await stream.close(error)
        except Exception as error:  # the edge between a service and its client
            _log.exception("service_failed", service=stream.service)
            await stream.close(Internal(f"{stream.service} failed: {type(error).__name__}"))
        else:
            await stream.close()

    # -- ends

    async def end_tokens(self, token_ids: Collection[str]) -> int:
        """End the sessions of revoked tokens; answers how many.

        A grant that was signed before is refused for as long as it could be used.
        """
        now = self.clock()
        self._revoked = {one: until for one, until in self._revoked.items() if until > now}
        self._revoked |= dict.fromkeys(token_ids, now + 2 * GRANT_SECONDS)
        ended = [one for one in self.sessions if one.grant.token_id in token_ids]
        for session in ended:
            session.say_goodbye(_revoked())
        return len(ended)

    async def _end_in_time(self, session: AgentSession) -> None:
        """A token that ends takes its session along, whether or not a gateway is there."""
        left_s = 1.0
        while left_s > 0:
            left_s = session.grant.until - self._wall()
            await asyncio.sleep(min(max(left_s, 0.0), _SWEEP_S))
        session.say_goodbye(Unauthorized("the token has expired", "Ask for a new address."))

    def forget(self, session: AgentSession) -> None:
        """A session ended. For AgentSession."""
        if self._sessions.get(session.ident) is session:
            del self._sessions[session.ident]
            self._tasks.start(session.tasks.close(), f"close-{session.ident[:8]}")
            _log.info("session_ended", session=session.ident[:8], reason=str(session.error))

    def _make_room(self, among: list[AgentSession], limit: int, whose: str) -> None:
        """End the one that is away for longest if need be. Raises Unavailable when none is."""
        if len(among) < limit:
            return
        away = _away(among)
        if not away:
            raise Unavailable(
                f"the box serves {len(among)} sessions {whose}, which is the limit",
                "Close one of them and try again.",
            )
        away[0].finish(Unavailable("the box needed the room"), SessionMove.GIVE_UP)

    def _sweep(self) -> None:
        now = self.clock()
        away = _away(self.sessions)
        kept = sum(one.kept_bytes for one in away)
        for session in away:
            limit_s = self._limits.empty_s if session.empty else self._limits.grace_s
            if now - session.left_at < limit_s and kept <= self._limits.kept_bytes:
                continue
            kept -= session.kept_bytes
            session.finish(Unavailable("the client stayed away too long"), SessionMove.GIVE_UP)

    async def _sweep_often(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sweep()

    async def close(self) -> None:
        """End all sessions and wait for their services. For a box that goes down for good."""
        ending = self.sessions
        for session in ending:
            session.say_goodbye(Unavailable("the box is going down", "Its files are kept."))
        for session in ending:
            await session.tasks.close()
        await self._tasks.close()


def _away(sessions: list[AgentSession]) -> list[AgentSession]:
    """Those without a link, the one that is away for longest first."""
    away = [one for one in sessions if one.state is not SessionState.LINKED]
    return sorted(away, key=lambda one: one.left_at)


def _revoked() -> Unauthorized:
    return Unauthorized("the token was revoked", "Ask for a new address of the project.")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
