"""`devbox forward`: TCP ports of a box, reached on this machine."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName
from devbox.model.errors import BadInput, Conflict, DevboxError

if TYPE_CHECKING:
    from devbox.edge.links import BridgeServer, ClientSession

_PORTS = 1 << 16
_LOCALHOST = "127.0.0.1"

Failed = Callable[["Forward", DevboxError], None]

Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="PORT...",
        help="REMOTE, LOCAL:REMOTE or LOCAL:HOST:REMOTE; LOCAL 0 is any.",
    ),
]


@dataclass(frozen=True)
class Forward:
    """One port here that leads to one seen from the box."""

    local: int
    host: str
    remote: int

    def __str__(self) -> str:
        there = f"{self.host}:" if self.host != _LOCALHOST else ""
        return f"{_LOCALHOST}:{self.local} -> {there}{self.remote}"


def parse_forward(text: str) -> Forward:
    """`REMOTE`, `LOCAL:REMOTE` or `LOCAL:HOST:REMOTE`. Raises BadInput."""
    parts = text.split(":")
    ports = [parts[0], parts[-1]]
    if len(parts) > len(("local", "host", "remote")) or not all(map(_is_port, ports)):
        raise BadInput(f"{text!r} is no forward", "Write 8080, 8080:80 or 8080:db:5432.")
    host = parts[1] if len(parts) == len(("local", "host", "remote")) else _LOCALHOST
    if not int(parts[-1]) or not host:
        raise BadInput(f"{text!r} names no port in the box", "Write 8080, 8080:80 or 8080:db:5432.")
    return Forward(int(parts[0]), host, int(parts[-1]))


def _is_port(text: str) -> bool:
    return text.isdecimal() and int(text) < _PORTS


@command(
    "devbox forward hello 8080",
    "devbox forward hello 15432:5432 8080:80",
    "devbox forward hello 15432:db:5432",
)
async def forward(call: Call, name: ProjectName, ports: Specs, namespace: Namespace = "") -> None:
    """Reach TCP ports of a box on this machine, until Ctrl-C."""
    from devbox.cli.reach import target
    from devbox.cli.sessions import dial_of, open_session

    forwards = [parse_forward(text) for text in ports]
    dial = await dial_of(target(call, name, namespace))
    async with open_session(dial) as session, AsyncExitStack() as stack:

        def failed(one: Forward, error: DevboxError) -> None:
            call.screen.note(f"{one}: {error.message}")

        listening = [await _listen(one, session, failed, stack) for one in forwards]
        call.screen.answer(
            [{"local": f.local, "host": f.host, "port": f.remote} for f in listening]
        )
        for one in listening:
            call.screen.say(str(one))
        await until_ended(call, session, "The forwards are closed; the box goes on.")


async def _listen(
    one: Forward, session: "ClientSession", failed: Failed, stack: AsyncExitStack
) -> Forward:
    """Listen for one forward. Raises Conflict when the port is taken."""
    from devbox.edge.links import BridgeServer, Lane

    where = {"host": one.host, "port": one.remote}
    server = BridgeServer(partial(session.open, "tcp", where, Lane.BULK), partial(failed, one))
    port = await start_bridge(server, one.local, f"0:{one.remote}")
    stack.push_async_callback(server.close)
    return replace(one, local=port)


async def start_bridge(server: "BridgeServer", port: int, any_port: str) -> int:
    """Listen on this machine; answers the port. Raises Conflict when it is taken."""
    try:
        return await server.start_tcp(_LOCALHOST, port)
    except OSError as error:
        raise Conflict(
            f"port {port} of this machine cannot be listened on: {error.strerror}",
            f"Choose another, such as {any_port} for any free one.",
        ) from error


async def until_ended(call: Call, session: "ClientSession", goes_on: str) -> None:
    """Until Ctrl-C, or until the session ends, which raises its error."""
    call.screen.note("Ctrl-C ends it.")
    with call.screen.goes_on(goes_on):
        await session.ended.wait()
    if session.error is not None:
        raise session.error
