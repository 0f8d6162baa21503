"""Ports and sockets of the box that lead to the client's side.

Only clients open streams, so each connection takes two steps. A stream with
`{"port": 3000}` (0: any) or `{"unix": "/tmp/app.sock"}` is listened for; on it come lines of JSON,
the place first, then one for each connection:

    {"port": 3000, "unix": ""}
    {"connection": 1}

Another stream of the same session, `{"accept": 1}`, is that connection's bytes.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

import msgspec

from devbox.edge.links import Bridge, Stream
from devbox.edge.sockets import bind_private
from devbox.model.errors import BadInput, Conflict, DevboxError, NotFound

_HOST = "127.0.0.1"
_PORTS = 1 << 16
_WAITING = 64
"""Connections of one listener that the client has not taken yet; more are refused."""
_TAKE_S = 30.0
"""One that is not taken by then is refused."""


class ReverseParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen, or which connection to take."""

    port: int = 0
    unix: str = ""
    accept: int = 0


class Listening(msgspec.Struct, frozen=True):
    """First line: where."""

    port: int
    unix: str


class Connected(msgspec.Struct, frozen=True):
    """Somebody in the box connected."""

    connection: int


@dataclass
class _Listener:
    """One place in the box, and who waits there."""

    stream: Stream
    waiting: dict[int, Bridge] = field(default_factory=dict)


class Reverse:
    """All such places of a box."""

    def __init__(self) -> None:
        self._listeners: set[int] = set()
        self._waiting: dict[tuple[str, int], tuple[_Listener, Bridge]] = {}
        self._numbers = count(1)

    @property
    def ports(self) -> frozenset[int]:
        """Ports that are no programs of the box."""
        return frozenset(self._listeners)

    async def serve(self, stream: Stream) -> None:
        """One stream. Raises BadInput, Conflict, NotFound."""
        try:
            params = msgspec.convert(stream.params, ReverseParams)
        except msgspec.ValidationError as error:
            raise BadInput(f"the parameters for reverse are wrong: {error}") from error
        if params.accept:
            await self._take(stream, params.accept)
        else:
            await self._listen(stream, params)

    async def _take(self, stream: Stream, number: int) -> None:
        found = self._forget(stream.session.ident, number)
        if found is None:
            raise NotFound(f"connection {number} is not waiting any more")
        await found.run(stream)

    def _forget(self, session: str, number: int) -> Bridge | None:
        listener, bridge = self._waiting.pop((session, number), (None, None))
        if listener is not None:
            listener.waiting.pop(number, None)
        return bridge

    async def _listen(self, stream: Stream, params: ReverseParams) -> None:
        listener = _Listener(stream)
        async with self._server(listener, params) as place:
            await stream.write(msgspec.json.encode(place) + b"\n")
            self._listeners.add(place.port)
            try:
                while await stream.read():
                    pass
            finally:
                self._listeners.discard(place.port)
                for number in list(listener.waiting):
                    self._refuse(listener, number)

    @contextlib.asynccontextmanager
    async def _server(self, listener: _Listener, params: ReverseParams) -> AsyncIterator[Listening]:
        """Listen. Raises BadInput, Conflict."""
        loop = asyncio.get_running_loop()

        def make() -> Bridge:
            return Bridge(lambda bridge: self._accepted(listener, bridge))

        try:
            if params.unix:
                server = await loop.create_unix_server(make, sock=bind_private(params.unix))
            elif 0 <= params.port < _PORTS:
                server = await loop.create_server(make, _HOST, params.port)
            else:
                raise BadInput(f"{params.port} is not a port")
        except OSError as error:
            raise _taken(params, error) from error
        try:
            port = 0 if params.unix else server.sockets[0].getsockname()[1]
            yield Listening(port, params.unix)
        finally:
            server.close()
            with contextlib.suppress(OSError):
                if params.unix:
                    os.unlink(params.unix)

    def _accepted(self, listener: _Listener, bridge: Bridge) -> None:
        if len(listener.waiting) >= _WAITING:
            bridge.refuse()
            return
        number = next(self._numbers)
        try:
            listener.stream.write_now(msgspec.json.encode(Connected(number)) + b"\n")
        except DevboxError:  # the client is about to be gone
            bridge.refuse()
            return
        listener.waiting[number] = bridge
        self._waiting[listener.stream.session.ident, number] = listener, bridge
        asyncio.get_running_loop().call_later(_TAKE_S, self._refuse, listener, number)

    def _refuse(self, listener: _Listener, number: int) -> None:
        bridge = self._forget(listener.stream.session.ident, number)
        if bridge is not None:
            bridge.refuse()


def _taken(params: ReverseParams, error: OSError) -> Conflict:
    where = params.unix or f"port {params.port}"
    return Conflict(
        f"{where} cannot be listened on in the box: {error.strerror or error}",
        "Choose another, or end what listens there.",
    )
