"""What client and agent share of a session: its lanes, its links' pulses, and its end."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from devbox.edge.links.conduit import Conduit
from devbox.edge.links.streams import LaneDriver, Stream
from devbox.edge.log import get_logger
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Unavailable
from devbox.wire.errors import ProtocolError
from devbox.wire.frames import Frame, Kind, Lane, Reason, encode, reason_of
from devbox.wire.pulse import Pulse
from devbox.wire.states import SESSION, LinkMove, Machine, SessionMove, SessionState
from devbox.wire.streams import error_of

_log = get_logger()


def boot_clock() -> float:
    """Seconds since boot, sleep included: a laptop that wakes up sees at once that links died."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


Clock = Callable[[], float]


class Session:
    """A resumable conversation. The sides differ in how they get links."""

    def __init__(self, ident: str, *, opens: bool, clock: Clock = boot_clock) -> None:
        self.ident = ident
        self.clock = clock
        self.tasks = Tasks(f"session-{ident[:8]}")
        self.lanes = {lane: LaneDriver(lane, self, opens=opens) for lane in Lane}
        self.machine = Machine(SESSION)
        self.ended = asyncio.Event()
        self.error: DevboxError | None = None
        """Why it ended, if not on purpose."""

    @property
    def state(self) -> SessionState:
        """New, linked, linkless or ended."""
        return self.machine.state

    @property
    def kept_bytes(self) -> int:
        """Memory held by replay and stream buffers."""
        return sum(driver.core.kept_bytes for driver in self.lanes.values())

    @property
    def empty(self) -> bool:
        """Whether no stream is open."""
        return not any(driver.core.streams for driver in self.lanes.values())

    # -- links

    async def use(self, link: Conduit, lane: Lane, peer_received: int) -> str:
        """Run a greeted link until it is lost; answers why. A newer one takes over."""
        driver = self.lanes[lane]
        if self.ended.is_set():
            link.abort("the session has ended")
            return link.lost.result()
        if driver.link is not None:
            driver.link.abort("a newer link took over", LinkMove.TAKEN_OVER)
        link.tune(lane)
        self.machine.move(SessionMove.LINK_UP)
        driver.attach(link, peer_received)
        try:
            await self._watch(link, driver)
            return link.lost.result()
        finally:
            link.abort("the link was left")
            if driver.detach(link):
                self._lost()

    def _lost(self) -> None:
        linked = any(driver.link is not None for driver in self.lanes.values())
        if not linked and self.machine.can(SessionMove.LAST_LINK_LOST):
            self.machine.move(SessionMove.LAST_LINK_LOST)

    async def _watch(self, link: Conduit, driver: LaneDriver) -> None:
        """Ping, and drop the link when nothing comes."""
        pulse = Pulse(self.clock())
        seen = link.bytes_in
        while not link.lost.done():
            await self._quiet(link, driver, pulse.next_look(self.clock()))
            now = self.clock()
            if link.bytes_in != seen:
                seen = link.bytes_in
                pulse.heard(now)
            if driver.doubted.done():
                pulse.doubt(now)
            if pulse.dead(now):
                link.abort("nothing was heard from the other side")
            elif pulse.ping_due(now):
                driver.core.ping(int(now * 1e6))
                driver.flush()

    async def _quiet(self, link: Conduit, driver: LaneDriver, limit_s: float) -> None:
        """Until the link is lost or doubted, or the time is over."""
        driver.doubted = asyncio.get_running_loop().create_future()
        both: list[asyncio.Future[Any]] = [link.lost, driver.doubted]
        await asyncio.wait(both, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)

    # -- the end

    def opened(self, stream: Stream) -> None:
        """The peer opened a stream. Only the agent's side is asked."""
        raise NotImplementedError

    def taken_goodbye(self, reason: Reason) -> None:
        """The peer ended the session."""
        error = error_of(reason)
        self.finish(error or Unavailable("the other side ended the session"), SessionMove.GOODBYE)

    def fault(self, error: ProtocolError) -> None:
        """The peer broke the protocol."""
        _log.error("protocol_broken", session=self.ident[:8], error=error.message)
        self.say_goodbye(error)

    def say_goodbye(self, error: DevboxError | None) -> None:
        """End the session and tell the peer, if there is a link."""
        frame = Frame(Kind.GOODBYE, 0, 0, encode(reason_of(error)))
        for driver in self.lanes.values():
            if driver.link is not None:
                driver.link.send(frame)
        move = SessionMove.GOODBYE
        self.finish(error or Unavailable("the session has ended"), move)

    def finish(self, error: DevboxError, move: SessionMove) -> None:
        """Every stream ends, links close. Nothing happens the second time."""
        if not self.machine.can(move):
            return
        self.machine.move(move)
        self.error = error
        self.ended.set()
        for driver in self.lanes.values():
            driver.abandon(error)
            if driver.link is not None:
                driver.link.close(LinkMove.GOODBYE)
