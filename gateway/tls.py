"""TLS for servers that hold thousands of connections: a transport over a plain transport.

The event loop's own TLS keeps a buffer of 256 KiB for every connection; here all share one, and an
idle connection holds what OpenSSL holds. Each direction ends for itself: the peer's close_notify
is `eof_received`, `write_eof` sends ours. Knows neither HTTP nor tunnels.

Invariant: what was received and not yet given on is at most one read of the plain transport, which
is paused while the protocol wants nothing.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Protocol, cast

_SLICE = 64 << 10
"""What OpenSSL's buffers are given at once: they keep the size that they once had."""
_SHARED = memoryview(bytearray(512 << 10))
"""Decrypted bytes, before they are copied for the protocol in the same call."""


class Waiting(Protocol):
    """Counts connections that have not said anything yet."""

    def arrived(self, one: "Secure", /) -> None:
        """Bounded; the oldest one may be dropped."""
        ...

    def left(self, one: "Secure", /) -> None:
        """It waits no more."""
        ...


class Secure(asyncio.Protocol, asyncio.Transport):
    """Below a protocol of a plain transport, above a transport for a protocol of its own."""

    __slots__ = (
        "_closing", "_handshake_s", "_in", "_made", "_our_end", "_out", "_plain", "_protocol",
        "_reading", "_their_end", "_timer", "_tls", "_unread", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        context: ssl.SSLContext,
        made: Callable[[], asyncio.Protocol],
        waiting: Waiting,
        handshake_s: float,
    ) -> None:
        super().__init__()
        self._made = made
        self._waiting = waiting
        self._handshake_s = handshake_s
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._plain: asyncio.Transport | None = None
        self._protocol: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread: list[memoryview] = []
        self._reading = True
        self._their_end = False
        self._our_end = False
        self._closing = False

    # -- the plain transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake, but not for ever."""
        self._plain = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._handshake_s, self.drop)
        self._waiting.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes."""
        if self._their_end:
            return
        view = memoryview(data)
        self._unread += [view[at : at + _SLICE] for at in range(0, len(view), _SLICE)]
        self._step()

    def eof_received(self) -> bool:
        """An end that nobody has signed is a break, not an end."""
        if not self._their_end:
            self.abort()
        return self._their_end

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._rest()
        self._closing = True
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
            self._protocol = None

    def pause_writing(self) -> None:
        """The peer is slow."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- between the sides

    def drop(self) -> None:
        """Close it without a word."""
        self._rest()
        self.abort()

    def _rest(self) -> None:
        self._waiting.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self) -> None:
        """Take in what was received for as long as somebody wants it."""
        while self._unread and self._reading and not self._closing:
            self._in.write(self._unread.pop(0))
            try:
                if self._protocol is None and not self._shaken():
                    continue
                self._decrypt()
            except (ssl.SSLError, OSError):
                self._flush()  # an alert, perhaps
                self.abort()
                return

    def _shaken(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._flush()
        self._rest()
        self._protocol = self._made()
        self._protocol.connection_made(self)
        return True

    def _decrypt(self) -> None:
        filled = 0
        try:
            while filled < len(_SHARED) and not self._their_end:
                count = self._read_into(_SHARED[filled:])
                self._their_end = not count
                filled += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._their_end = True
        self._flush()
        self._give(bytes(_SHARED[:filled]))

    def _read_into(self, room: memoryview) -> int:
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        return read(len(room), room)

    def _give(self, data: bytes) -> None:
        if data and self._protocol is not None:
            self._protocol.data_received(data)
        if self._their_end and self._protocol is not None and not self._closing:
            self._unread.clear()
            if not self._protocol.eof_received():
                self.close()

    def _flush(self) -> None:
        if self._out.pending and self._plain is not None and not self._plain.is_closing():
            self._plain.write(self._out.read())

    # -- the protocol's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        if self._closing or self._our_end or self._plain is None:
            return
        view = memoryview(data)
        pieces = []
        try:
            for at in range(0, len(view), _SLICE):
                self._tls.write(view[at : at + _SLICE])
                pieces.append(self._out.read())
        except ssl.SSLError:
            self.abort()
            return
        if pieces and not self._plain.is_closing():
            self._plain.writelines(pieces)

    def can_write_eof(self) -> bool:
        """Each direction ends for itself."""
        return True

    def write_eof(self) -> None:
        """Say that no more comes."""
        if self._our_end or self._closing:
            return
        self._our_end = True
        with contextlib.suppress(ssl.SSLError, OSError):
            self._tls.unwrap()  # it would like to read the peer's end as well
        self._flush()

    def close(self) -> None:
        """What was written arrives; nothing more is read."""
        if not self._closing and self._plain is not None:
            self.write_eof()
            self._closing = True
            self._plain.close()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if self._plain is not None:
            self._plain.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or closing."""
        return self._closing or self._plain is None or self._plain.is_closing()

    def is_reading(self) -> bool:
        """Whether the protocol wants bytes."""
        return self._reading

    def pause_reading(self) -> None:
        """Leave bytes with the peer."""
        if self._reading and not self.is_closing() and self._plain is not None:
            self._reading = False
            self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Deliver again, what is here first."""
        if not self._reading and not self.is_closing() and self._plain is not None:
            self._reading = True
            self._plain.resume_reading()
            asyncio.get_running_loop().call_soon(self._step)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol gets what comes from now on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what comes."""
        return self._protocol or self

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the plain transport's, encrypted bytes being counted."""
        if self._plain is not None:
            self._plain.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Encrypted bytes not yet sent."""
        return self._plain.get_write_buffer_size() if self._plain is not None else 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the plain transport's, and what tells that this is TLS."""
        if name == "ssl_object":
            return self._tls
        if name == "sslcontext":
            return self._tls.context
        return self._plain.get_extra_info(name, default) if self._plain is not None else default
