"""From a target to an open session with the agent in its box.

Owns the choice of URL and credential for a session. Knows no command.
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devbox.cli.config import Context
from devbox.cli.reach import Target, open_api
from devbox.model.address import parse_url
from devbox.model.errors import BadInput, Internal
from devbox.model.orchestrator import ProjectKey

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from devbox.edge.links import ClientSession, SessionEvent, Stream
    from devbox.model.projects import Project

    CallLater = Callable[..., asyncio.TimerHandle]

_LINE_BYTES = 1 << 20
_SILENT_S = 2.0
"""A break shorter than this is nobody's business."""


@dataclass(frozen=True)
class Dial:
    """Where and with what a session is opened."""

    url: str
    """`http(s)://gateway/cluster/region/namespace/project`: no secret in it."""
    bearer: str = field(repr=False)
    ca_file: str = ""


async def dial_of(wanted: Target) -> Dial:
    """How to reach a project's box. Asks the gateway only where the context does not know."""
    context = wanted.context
    cluster, region = context.cluster, context.region
    if not cluster:
        async with open_api(context, wanted.bearer) as gateway:
            cluster, region = await gateway.where()
    return Dial(f"{context.url}/{cluster}/{region}/{wanted.place}", wanted.bearer, context.ca_file)


def target_of_address(url: str, ca_file: str) -> Target:
    """A project by its address alone. Raises BadInput."""
    base, address = parse_url(url)
    context = Context("address", base, ca_file, address.namespace, address.cluster, address.region)
    key = ProjectKey(namespace=address.namespace, name=address.project)
    return Target(context, key, address.token)


async def fetch_project(wanted: Target) -> "Project":
    """The project, with its host key."""
    async with open_api(wanted.context, wanted.bearer) as gateway:
        return await gateway.api.get_project(wanted.key)


@asynccontextmanager
async def open_session(dial: Dial) -> "AsyncIterator[ClientSession]":
    """A session that re-dials by itself; says so on stderr when that takes long."""
    from devbox.edge import log
    from devbox.edge.links import DialOptions, Target, connect

    log.silence()
    where = Target(dial.url, dial.bearer, ssl=_trusted(dial))
    notice = Notice(asyncio.get_running_loop().call_later, _say)
    try:
        async with connect("", target=where, options=DialOptions(on_state=notice.hear)) as session:
            yield session
    finally:
        notice.end()


async def lines(stream: "Stream") -> "AsyncIterator[bytes]":
    """What an agent says line by line, to its end. Raises what the stream ended with."""
    rest = b""
    while data := await stream.read():
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line
        if len(rest) > _LINE_BYTES:
            raise Internal("the box said a line without an end", "Restart the project.")


def _trusted(dial: Dial) -> "ssl.SSLContext | None":
    if not dial.ca_file:
        return None
    import ssl

    try:
        return ssl.create_default_context(cafile=dial.ca_file)
    except OSError as error:
        raise BadInput(
            f"{dial.ca_file} cannot be used: {error}", "Give a file of certificates in PEM."
        ) from error


def _say(text: str) -> None:
    print(f"devbox: {text}", file=sys.stderr, flush=True)


class Notice:
    """Tells a person of a break in the connection, but only of one that lasts."""

    def __init__(self, call_later: "CallLater", say: "Callable[[str], None]") -> None:
        self._call_later = call_later
        self._say = say
        self._timer: asyncio.TimerHandle | None = None
        self._told = False

    def hear(self, event: "SessionEvent") -> None:
        """Take the session's new state."""
        if event.state == "linkless" and self._timer is None:
            self._timer = self._call_later(_SILENT_S, self._tell, event.reason)
        elif event.state == "linked":
            self.end()
            if self._told:
                self._told = False
                self._say("connected again")

    def _tell(self, reason: str) -> None:
        self._told = True
        self._say(f"reconnecting ({reason}); nothing is lost" if reason else "reconnecting")

    def end(self) -> None:
        """Say no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
