"""A stream as applications see it, and the driver that moves a lane's frames over its link."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from devbox.edge.links.conduit import Conduit
from devbox.model.errors import DevboxError, Internal
from devbox.wire.blocks import Inlet
from devbox.wire.errors import LinkBroken, ProtocolError
from devbox.wire.frames import Frame, Kind, Lane, Reason, decode
from devbox.wire.lane import Event, EventKind, LaneCore
from devbox.wire.streams import StreamCore

if TYPE_CHECKING:
    from devbox.edge.links.sessions import Session

READ_BYTES = 256 << 10
_PENDING_LOW = 64 << 10


class Stream:
    """One flow of bytes in each direction, with ends of its own. One reader at a time."""

    def __init__(self, core: StreamCore, driver: "LaneDriver", session: "Session") -> None:
        self._core = core
        self._driver = driver
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._watch: Callable[[], None] | None = None
        self.session = session

    @property
    def service(self) -> str:
        """What the stream asked the agent for."""
        return self._core.service

    @property
    def params(self) -> dict[str, Any]:
        """As given to `open`."""
        return self._core.params

    @property
    def lane(self) -> Lane:
        """The link it uses."""
        return self._driver.core.lane

    @property
    def pending_bytes(self) -> int:
        """Written and not yet given to the link."""
        return self._core.pending_bytes

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Up to `limit` bytes as soon as there are any; b"" at the end.

        Raises the DevboxError that the other side closed with, after all before it was read.
        """
        while (data := self.read_now(limit)) is None:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return data

    def read_now(self, limit: int = READ_BYTES) -> bytes | None:
        """As `read`, but None when there is nothing yet."""
        data = self.view_now(limit)
        return bytes(data) if isinstance(data, memoryview) else data

    def view_now(self, limit: int = READ_BYTES) -> bytes | memoryview | None:
        """As `read_now`; a view must be passed on at once: it keeps much memory from being used."""
        data = self._driver.core.read(self._core, limit)
        if data:
            self._driver.flush()
        return data

    @property
    def inlet(self) -> Inlet:
        """Where to read what `write_now` is then given, so that nothing is copied."""
        return self._driver.inlet

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; waits while too much is under way. Raises DevboxError when closed."""
        self.write_now(data)
        while self._core.pending_bytes > _PENDING_LOW:
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            self._driver.waiting.add(self)
            await waiter
            if self._core.error is not None:
                raise self._core.error

    def write_now(self, data: bytes | bytearray | memoryview) -> None:
        """Queue without waiting; the caller watches `pending_bytes`.

        Bytes and read-only views are not copied: they must not change any more.
        """
        self._driver.core.send(self._core, data)
        self._driver.flush()
        if not self.drained:
            self._driver.waiting.add(self)

    async def end(self) -> None:
        """No more will be written; reading goes on."""
        self.end_now()

    def end_now(self) -> None:
        """As `end`."""
        self._driver.core.end(self._core)
        self._driver.flush()

    async def close(self, error: DevboxError | str = "") -> None:
        """End both directions. With an error the other side's reads and writes raise it.

        Without one, what was written arrives, and what arrives from now on is dropped.
        """
        self.close_now(error)

    def close_now(self, error: DevboxError | str = "") -> None:
        """As `close`."""
        fault = Internal(error) if error and isinstance(error, str) else error or None
        if isinstance(fault, DevboxError):
            self._driver.core.reset(self._core, fault)
        else:
            self._driver.core.finish(self._core)
        self._driver.flush()
        self.notify()

    def watch(self, callback: Callable[[], None] | None) -> None:
        """Call when there may be something to read, room to write, or an end."""
        self._watch = callback

    def notify(self) -> None:
        """Wake who waits. For the driver."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)
        self._writers.clear()
        if self._watch is not None:
            self._watch()

    @property
    def drained(self) -> bool:
        """Whether writers may go on."""
        return self._core.pending_bytes <= _PENDING_LOW

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(error if isinstance(error, DevboxError) else "")


class LaneDriver:
    """Owns the link that a lane has at the moment, and the faces of its streams."""

    def __init__(self, lane: Lane, session: "Session", *, opens: bool) -> None:
        self.core = LaneCore(lane, opens=opens)
        self.link: Conduit | None = None
        self.inlet = Inlet()
        self._taking = False
        self.waiting: set[Stream] = set()
        self._session = session
        self.acknowledged = asyncio.Event()
        """Set when it is worth asking again whether all has arrived."""
        self.doubted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the link may be dead although nothing says so."""
        self.on_pong: Callable[[int], None] | None = None

    def open(self, service: str, params: dict[str, Any]) -> Stream:
        """Begin a stream."""
        core = self.core.open(service, params)
        face = self._face(core)
        self.flush()
        return face

    def _face(self, core: StreamCore) -> Stream:
        core.owner = face = Stream(core, self, self._session)
        return face

    def attach(self, link: Conduit, peer_received: int) -> None:
        """Use a link that has greeted. Raises ProtocolError."""
        self.core.attach(peer_received)
        self.link = link
        self.acknowledged.set()
        link.run(self.take, self.flush)
        self.flush()

    def doubt(self) -> None:
        """The network changed: find out soon whether the link lives."""
        if not self.doubted.done():
            self.doubted.set_result(None)

    def detach(self, link: Conduit) -> bool:
        """The link is lost; whether it was the one in use."""
        if self.link is not link:
            return False
        self.link = None
        return True

    def flush(self) -> None:
        """Give the link what it takes, then let writers go on."""
        if self._taking:
            return
        link = self.link
        if link is not None:
            while link.writable and (frame := self.core.next_frame()) is not None:
                link.send(frame)
        if self.waiting:
            self._wake_writers()

    def _wake_writers(self) -> None:
        for face in [face for face in self.waiting if face.drained]:
            self.waiting.discard(face)
            face.notify()

    def take(self, frames: list[Frame]) -> None:
        """Frames from the link. What they make the lane say is said once, after all of them."""
        self._taking = True
        try:
            for frame in frames:
                if frame.kind == Kind.GOODBYE:
                    self._session.taken_goodbye(decode(frame.payload, Reason))
                    break
                self._take(frame)
        except ProtocolError as error:
            self._session.fault(error)
        except LinkBroken as error:
            if self.link is not None:
                self.link.abort(str(error))
        finally:
            self._taking = False
        self.flush()

    def _take(self, frame: Frame) -> None:
        event = self.core.receive(frame)
        if event is not None:
            self._dispatch(event)
            if event.stream is not None:
                event.stream.settle()

    def _dispatch(self, event: Event) -> None:
        if event.stream is None:
            self._dispatch_lane(event)
        elif event.kind is EventKind.OPENED:
            self._session.opened(self._face(event.stream))
        elif event.kind is not EventKind.WRITABLE:
            event.stream.owner.notify()

    def _dispatch_lane(self, event: Event) -> None:
        if event.kind is EventKind.PONG and self.on_pong is not None:
            self.on_pong(event.token)
        elif event.kind is EventKind.ACKNOWLEDGED and self.core.drained:
            self.acknowledged.set()

    def abandon(self, error: DevboxError | None) -> None:
        """The session ended."""
        self.acknowledged.set()
        for core in self.core.abandon(error):
            core.owner.notify()
