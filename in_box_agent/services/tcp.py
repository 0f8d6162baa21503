"""A connection from the box to one of its ports or sockets, or to where the box can reach.

Parameters: `{"host": "localhost", "port": 5432}` or `{"unix": "/run/app.sock"}`.
"""

import asyncio
from typing import Any, Protocol

import msgspec

from devbox.model.errors import BadInput, DevboxError, NotFound, Unavailable

_PIECE_BYTES = 256 << 10
_CONNECT_S = 10.0
_PORTS = range(1, 65536)


class TcpParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to connect."""

    host: str = "localhost"
    port: int = 0
    unix: str = ""


class Duplex(Protocol):
    """What is needed of a stream."""

    params: dict[str, Any]

    async def read(self, limit: int) -> bytes:
        """Some bytes; b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when the stream has room again."""

    async def end(self) -> None:
        """No more writes come."""


async def serve_tcp(stream: Duplex) -> None:
    """Connect and relay both directions, each to its own end.

    Raises BadInput, NotFound (nothing listens) or Unavailable (not reachable in time).
    """
    try:
        params = msgspec.convert(stream.params, TcpParams)
    except msgspec.ValidationError as error:
        raise BadInput(f"the parameters for tcp are wrong: {error}") from error
    if not params.unix and params.port not in _PORTS:
        raise BadInput(f"{params.port} is not a port", "A port is a number from 1 to 65535.")
    reader, writer = await _connect(params)
    try:
        await asyncio.gather(_inward(stream, writer), _outward(reader, stream))
    except OSError as error:
        raise Unavailable(f"the connection to {_name(params)} broke") from error
    finally:
        writer.close()


async def _connect(params: TcpParams) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(_CONNECT_S):
            if params.unix:
                return await asyncio.open_unix_connection(params.unix, limit=_PIECE_BYTES)
            return await asyncio.open_connection(params.host, params.port, limit=_PIECE_BYTES)
    except TimeoutError as error:
        raise Unavailable(f"{_name(params)} does not answer in the box") from error
    except OSError as error:
        raise _refused(params, error) from error


def _refused(params: TcpParams, error: OSError) -> DevboxError:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return NotFound(
            f"nothing listens on {_name(params)} in the box",
            "Start the program that should listen there, then connect again.",
        )
    return Unavailable(f"the box cannot reach {_name(params)}: {error.strerror or error}")


async def _inward(stream: Duplex, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read(_PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _outward(reader: asyncio.StreamReader, stream: Duplex) -> None:
    while data := await reader.read(_PIECE_BYTES):
        await stream.write(data)
    await stream.end()


def _name(params: TcpParams) -> str:
    return params.unix or f"{params.host}:{params.port}"
