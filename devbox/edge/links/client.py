"""The client's side: `connect`, and dialling again for as long as the session lives."""

import asyncio
import contextlib
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from devbox.edge.links.conduit import Conduit
from devbox.edge.links.dial import Refused, Target, dial
from devbox.edge.links.network import NetworkWatch, Verdict, judge, watch_network
from devbox.edge.links.sessions import Clock, Session, boot_clock
from devbox.edge.links.streams import Stream
from devbox.edge.log import get_logger
from devbox.model.errors import (
    BadInput,
    Conflict,
    DevboxError,
    Forbidden,
    NotFound,
    Unauthorized,
    Unavailable,
)
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import (
    VERSION,
    Frame,
    Hello,
    Kind,
    Lane,
    Reason,
    Welcome,
    decode,
    encode,
)
from devbox.wire.pulse import Backoff
from devbox.wire.states import LinkMove, SessionMove, SessionState
from devbox.wire.streams import error_of

_log = get_logger()
_GREETING_S = 10.0
_DRAIN_S = 5.0
_FAREWELL_S = 2.0
_GRACE_S = 24 * 3600.0
_FINAL = (Unauthorized, Forbidden, NotFound, BadInput)
_TROUBLE = (OSError, TimeoutError, LinkBroken)


@dataclass(frozen=True)
class SessionEvent:
    """For `on_state`: the session's new state, and why in words for a person."""

    state: SessionState
    reason: str = ""
    lane: Lane | None = None
    """Whose link came or went; None when the session ended."""


OnState = Callable[[SessionEvent], None]


@dataclass(frozen=True)
class DialOptions:
    """How patient a client is, and what it is told."""

    patience_s: float = 10.0
    """How long the first dial is tried against a gateway that is down or busy."""
    on_state: OnState = lambda event: None  # noqa: ARG005
    clock: Clock = boot_clock
    network: NetworkWatch = watch_network
    judge: Callable[[str, str], Verdict] = judge


class Ended(Exception):
    """The agent answered HELLO with GOODBYE."""

    def __init__(self, error: DevboxError) -> None:
        super().__init__(str(error))
        self.error = error


class ClientSession(Session):
    """A client's session. `open` streams; links come and go underneath."""

    def __init__(self, target: Target, options: DialOptions) -> None:
        super().__init__(secrets.token_hex(16), opens=True, clock=options.clock)
        self._target = target
        self._options = options
        self._secret = secrets.token_hex(16)
        self._known = False
        self._turn = 0
        """Which of the gateway's addresses is dialled first: another one after each failure."""
        self._bulk: asyncio.Task[bool] | None = None
        self._hurry = asyncio.Event()

    async def open(
        self, service: str, params: dict[str, Any] | None = None, lane: Lane = Lane.INTERACTIVE
    ) -> Stream:
        """Open a stream at once; a refusal by the agent is raised by its reads and writes.

        The first bulk stream dials the bulk link; where that fails, it uses the first link.
        Raises the session's error when it has ended, Conflict for too many streams.
        """
        if lane is Lane.BULK and not await self._bulk_link():
            lane = Lane.INTERACTIVE
        if self.error is not None:
            raise self.error
        return self.lanes[lane].open(service, params or {})

    def network_changed(self) -> None:
        """Do not wait: dial now; drop links whose address is gone, doubt those that moved."""
        self._hurry.set()
        for driver in self.lanes.values():
            if driver.link is None or (ends := driver.link.ends) is None:
                continue
            verdict = self._options.judge(*ends)
            if verdict is Verdict.GONE:
                driver.link.abort("the network changed")
            elif verdict is Verdict.MOVED:
                driver.doubt()

    # -- links

    async def begin(self) -> None:
        """The first dial, with patience. Raises DevboxError."""
        deadline = self.clock() + self._options.patience_s
        backoff = Backoff()
        while True:
            try:
                greeted = await self._greet(Lane.INTERACTIVE)
            except (Refused, Ended, *_TROUBLE) as error:
                fault, wait_s = _explain(error)
                wait_s = max(wait_s, backoff.next_delay(random.random()))  # noqa: S311
                if _is_final(error) or self.clock() + wait_s > deadline:
                    raise fault from error
                await asyncio.sleep(wait_s)
            else:
                self.tasks.start(self._keep(Lane.INTERACTIVE, greeted), "link-interactive")
                return

    async def _bulk_link(self) -> bool:
        if self._bulk is None:
            self._bulk = self.tasks.start(self._dial_bulk(), "dial-bulk")
        return await asyncio.shield(self._bulk)

    async def _dial_bulk(self) -> bool:
        try:
            greeted = await self._greet(Lane.BULK)
        except (Refused, Ended, *_TROUBLE) as error:
            _log.info("no_bulk_link", reason=str(error))
            self._bulk = None
            return False
        self.tasks.start(self._keep(Lane.BULK, greeted), "link-bulk")
        return True

    async def _greet(self, lane: Lane) -> tuple[Conduit, Welcome]:
        """Dial and say HELLO. Raises Refused, Ended or one of _TROUBLE."""
        turn, self._turn = self._turn, self._turn + 1
        link = await dial(self._target, turn)
        try:
            link.send(Frame(Kind.HELLO, 0, 0, encode(self._hello(lane))))
            async with asyncio.timeout(_GREETING_S):
                frame = await link.first()
            welcome = _welcome(frame)
        except BaseException:
            self._take_back(link)
            raise
        self._known = True
        self._turn = turn
        return link, welcome

    def _take_back(self, link: Conduit) -> None:
        """A greeting failed. Where the agent may have begun the session, nobody will end it."""
        if not self._known:
            link.send(Frame(Kind.GOODBYE, 0, 0, encode(Reason())))
            link.close(LinkMove.GOODBYE)
        link.abort("the greeting failed")

    def _hello(self, lane: Lane) -> Hello:
        return Hello(
            session=self.ident,
            secret=self._secret,
            lane=lane,
            received=self.lanes[lane].core.received,
            new=not self._known,
        )

    async def _keep(self, lane: Lane, greeted: tuple[Conduit, Welcome] | None) -> None:
        """Use a link, and when it is lost another, until the session ends."""
        while greeted is not None:
            self._tell(SessionState.LINKED, lane=lane)
            reason = await self._use(lane, *greeted)
            if self.ended.is_set():
                break
            self._tell(SessionState.LINKLESS, reason, lane)
            greeted = await self._redial(lane)
        if self.error is not None:
            self._tell(SessionState.ENDED, str(self.error))

    async def _use(self, lane: Lane, link: Conduit, welcome: Welcome) -> str:
        try:
            return await self.use(link, lane, welcome.received)
        except ProtocolError as error:
            self.fault(error)
            return error.message

    async def _redial(self, lane: Lane) -> tuple[Conduit, Welcome] | None:
        """Dial until it succeeds; None when the session ended."""
        backoff = Backoff()
        lost_at = self.clock()
        while not self.ended.is_set():
            try:
                return await self._greet(lane)
            except (Refused, Ended, *_TROUBLE) as error:
                fault, wait_s = _explain(error)
                late = self.clock() - lost_at > _GRACE_S
                if _is_final(error) or late:
                    self.finish(fault, SessionMove.GOODBYE)
                    return None
                wait_s = max(min(wait_s, 10.0), backoff.next_delay(random.random()))  # noqa: S311
                await self._pause(wait_s)
        return None

    async def _pause(self, wait_s: float) -> None:
        self._hurry.clear()
        ending = [self.tasks.start(one.wait(), "pause") for one in (self._hurry, self.ended)]
        await asyncio.wait(ending, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        for task in ending:
            task.cancel()

    def _tell(self, state: SessionState, reason: str = "", lane: Lane | None = None) -> None:
        self._options.on_state(SessionEvent(state, reason, lane))

    # -- the end

    async def close(self) -> None:
        """Let what was written arrive (5 s at most, links permitting), then say GOODBYE.

        Cancelled, it waits no longer for the former, but says the latter.
        """
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    for driver in self.lanes.values():
                        await self._drain(driver.core.lane)
        finally:
            await self.leave()
            await self.tasks.close()

    async def leave(self) -> None:
        """Say GOODBYE at once and let it go out; what was written before and waits is dropped."""
        ending = [driver.link.gone for driver in self.lanes.values() if driver.link is not None]
        self.say_goodbye(None)
        if ending:
            await asyncio.wait(ending, timeout=_FAREWELL_S)

    async def _drain(self, lane: Lane) -> None:
        driver = self.lanes[lane]
        while not driver.core.drained and not self.ended.is_set():
            driver.acknowledged.clear()
            driver.flush()
            driver.core.ping(0)
            driver.flush()
            await driver.acknowledged.wait()


def _welcome(frame: Frame) -> Welcome:
    """Raises Ended, or LinkBroken for any other frame."""
    if frame.kind == Kind.GOODBYE:
        reason = decode(frame.payload, Reason)
        raise Ended(error_of(reason) or Unavailable("the box ended the session"))
    if frame.kind != Kind.WELCOME:
        raise LinkBroken("the box did not greet")
    welcome = decode(frame.payload, Welcome)
    if welcome.version != VERSION:
        raise Ended(BadInput(f"the box speaks version {welcome.version}", "Update devbox."))
    return welcome


def _explain(error: BaseException) -> tuple[DevboxError, float]:
    """What to tell a person, and how long the other side wants us to wait."""
    if isinstance(error, Refused):
        return error.error, error.retry_after_s or 0.0
    if isinstance(error, Ended):
        return error.error, 0.0
    if isinstance(error, ssl.SSLCertVerificationError):
        return BadInput(
            f"the gateway's certificate is not trusted: {error.verify_message}",
            "Give the CA file that signed it, or mend the certificate.",
        ), 0.0
    return (
        Unavailable(
            f"the gateway cannot be reached: {str(error) or type(error).__name__}",
            "Check the network and the address. The box goes on running.",
        ),
        0.0,
    )


def _is_final(error: BaseException) -> bool:
    if isinstance(error, Ended):
        return not isinstance(error.error, Unavailable)
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, Refused) and isinstance(error.error, (*_FINAL, Conflict))


@contextlib.asynccontextmanager
async def connect(
    url: str,
    bearer: str = "",
    *,
    target: Target | None = None,
    options: DialOptions = DialOptions(),
) -> AsyncIterator[ClientSession]:
    """A session with the box behind `url` (http, https, ws or wss, with the address's path).

    Raises Unauthorized, NotFound, Conflict, Unavailable ... as the gateway says, once.
    """
    session = ClientSession(target or Target(url, bearer), options)
    unwatch = options.network(session.network_changed)
    try:
        await session.begin()
        yield session
    finally:
        unwatch()
        await session.close()
