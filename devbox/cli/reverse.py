"""`devbox reverse`: ports and sockets of this machine, reached in a box."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName
from devbox.cli.places import LOCALHOST, Place, Route, parse_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devbox.edge.links import ClientSession
    from devbox.edge.tasks import Tasks

Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="PORT...",
        help="LOCAL, BOX:LOCAL or BOX:HOST:LOCAL. BOX 0 is any. A path is a unix socket.",
    ),
]


@command(
    "devbox reverse hello 3000",
    "devbox reverse hello 8080:3000 5432",
    "devbox reverse hello 8080:printer.lan:80",
    "devbox reverse hello /tmp/agent.sock:$SSH_AUTH_SOCK",
)
async def reverse(call: Call, name: ProjectName, ports: Specs, namespace: Namespace = "") -> None:
    """Reach ports and unix sockets of this machine from a box, until Ctrl-C.

    Programs in the box find them on its own loopback address.
    """
    from devbox.cli.forward import until_ended
    from devbox.cli.reach import target
    from devbox.cli.sessions import dial_of, open_session
    from devbox.edge.tasks import Tasks

    routes = [parse_route(text) for text in ports]
    dial = await dial_of(target(call, name, namespace))
    async with open_session(dial) as session, Tasks("reverse") as tasks:
        found = [await Reversed(call, session, tasks, one).begin() for one in routes]
        call.screen.answer([_described(one) for one in found])
        for one in found:
            call.screen.say(f"{one.near} in the box -> {one.far}")
        await until_ended(call, session, "The box reaches this machine no more; it goes on.")


def _described(one: Route) -> dict[str, Any]:
    return {"box": one.near.path or one.near.port, **one.far.params}


class Reversed:
    """One place in the box, and the connections from there."""

    def __init__(self, call: Call, session: "ClientSession", tasks: "Tasks", route: Route) -> None:
        self._call = call
        self._session = session
        self._tasks = tasks
        self._route = route

    async def begin(self) -> Route:
        """Listen there; answers with the port there is. Raises what the agent says."""
        from devbox.cli.sessions import lines

        near = self._route.near
        params = {"unix": near.path} if near.path else {"port": near.port}
        told = lines(await self._session.open("reverse", params))
        port = _number(await anext(told), "port")
        self._tasks.start(self._serve(told), "serve")
        return self._route if near.path else self._route.at(port)

    async def _serve(self, told: "AsyncIterator[bytes]") -> None:
        from devbox.model.errors import DevboxError

        try:
            async for line in told:
                self._tasks.start(self._join(_number(line, "connection")), "join")
        except DevboxError as error:
            if not self._session.ended.is_set():
                self._call.screen.note(f"{self._route.near}: {error.message}")

    async def _join(self, number: int) -> None:
        from devbox.edge.links import Lane, bridge_tcp, bridge_unix
        from devbox.model.errors import DevboxError

        far = self._route.far
        try:
            async with await self._session.open("reverse", {"accept": number}, Lane.BULK) as stream:
                if far.path:
                    await bridge_unix(stream, far.path)
                else:
                    await bridge_tcp(stream, _host(far), far.port)
        except DevboxError as error:
            self._call.screen.note(f"{far}: {error.message}")


def _host(far: Place) -> str:
    """Programs of this machine may listen on either of its loopback addresses."""
    return "localhost" if far.host == LOCALHOST else far.host


def _number(line: bytes, name: str) -> int:
    import msgspec

    return int(msgspec.json.decode(line, type=dict[str, Any])[name])
