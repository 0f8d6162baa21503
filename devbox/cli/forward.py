"""`devbox forward`: ports and sockets of a box, reached on this machine."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName
from devbox.cli.places import LOCALHOST, Route, parse_route
from devbox.model.errors import BadInput, Conflict, DevboxError

if TYPE_CHECKING:
    from devbox.edge.links import BridgeServer, ClientSession

Failed = Callable[[DevboxError], None]

Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="[PORT...]",
        help="REMOTE, LOCAL:REMOTE or LOCAL:HOST:REMOTE. LOCAL 0 is any. A path is a unix socket.",
        show_default=False,
    ),
]
All = Annotated[
    bool, typer.Option("--all", help="Every port that a program in the box listens on, as it does.")
]


@command(
    "devbox forward hello 8080",
    "devbox forward hello 15432:5432 8080:80",
    "devbox forward hello 15432:db:5432",
    "devbox forward hello /tmp/docker.sock:/var/run/docker.sock",
    "devbox forward hello --all",
)
async def forward(
    call: Call,
    name: ProjectName,
    ports: Specs = [],
    namespace: Namespace = "",
    everything: All = False,
) -> None:
    """Reach ports and unix sockets of a box on this machine, until Ctrl-C.

    With --all a port is there within a second after a program in the box began to listen, under
    its own number where that is free here, and goes with it. JSON is then one line per change.
    """
    from devbox.cli.reach import target
    from devbox.cli.sessions import dial_of, open_session

    if not ports and not everything:
        raise BadInput("no port was named", "Name some, or give --all.")
    routes = [parse_route(text) for text in ports]
    dial = await dial_of(target(call, name, namespace))
    async with open_session(dial) as session, AsyncExitStack() as stack:
        found = [await _listen(call, one, session, stack) for one in routes]
        if everything:
            from devbox.cli.watch import follow

            await follow(call, session, found)
            return
        call.screen.answer([described(one) for one in found])
        for one in found:
            call.screen.say(f"{one.near} -> {one.far.short}")
        await until_ended(call, session, GOES_ON)


GOES_ON = "The forwards are closed; the box goes on."


def described(one: Route) -> dict[str, object]:
    """For scripts."""
    return {"local": one.near.path or one.near.port, **one.far.params}


async def _listen(call: Call, one: Route, session: "ClientSession", stack: AsyncExitStack) -> Route:
    server = bridge_to(one, session, lambda error: call.screen.note(f"{one.far}: {error.message}"))
    stack.push_async_callback(server.close)
    return await start(server, one)


def bridge_to(one: Route, session: "ClientSession", failed: Failed) -> "BridgeServer":
    """What carries connections to the far side; it does not listen yet."""
    from devbox.edge.links import BridgeServer, Lane

    return BridgeServer(partial(session.open, "tcp", one.far.params, Lane.BULK), failed)


async def start(server: "BridgeServer", one: Route) -> Route:
    """Listen on this machine; answers with the port there is. Raises Conflict."""
    if not one.near.path:
        return one.at(await start_bridge(server, one.near.port, f"0:{one.far.short}"))
    try:
        await server.start_unix(one.near.path)
    except OSError as error:
        raise Conflict(
            f"{one.near.path} cannot be listened on: {error.strerror or error}",
            "Choose another path, or remove what lies there.",
        ) from error
    return one


async def start_bridge(server: "BridgeServer", port: int, any_port: str) -> int:
    """Listen on this machine; answers the port. Raises Conflict when it is taken."""
    try:
        return await server.start_tcp(LOCALHOST, port)
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
