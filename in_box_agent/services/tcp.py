"""A connection from the box to one of its ports or sockets, or to where the box can reach.

Parameters: `{"host": "localhost", "port": 5432}` or `{"unix": "/run/app.sock"}`.
"""

import msgspec

from devbox.edge.links import Stream, bridge_tcp, bridge_unix
from devbox.model.errors import BadInput, Unavailable

_PORTS = range(1, 65536)


class TcpParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to connect."""

    host: str = "localhost"
    port: int = 0
    unix: str = ""


async def serve_tcp(stream: Stream) -> None:
    """Connect and relay both directions, each to its own end.

    Raises BadInput, or Unavailable when nothing listens there.
    """
    try:
        params = msgspec.convert(stream.params, TcpParams)
    except msgspec.ValidationError as error:
        raise BadInput(f"the parameters for tcp are wrong: {error}") from error
    if params.unix:
        await bridge_unix(stream, params.unix)
        return
    if params.port not in _PORTS:
        raise BadInput(f"{params.port} is not a port", "A port is a number from 1 to 65535.")
    if params.host != "localhost":
        await bridge_tcp(stream, params.host, params.port)
        return
    # Both addresses, because programs listen on either; by number, because images lack /etc/hosts.
    try:
        await bridge_tcp(stream, "127.0.0.1", params.port)
    except Unavailable:
        await bridge_tcp(stream, "::1", params.port)
