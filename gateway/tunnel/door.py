"""Lets a tunnel's request in: credential, bounds, box, session. Owns the order of these steps.

A wrong token, an unknown project and a stopped project's wrong token take the same steps and get
the same answer.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from devbox.edge.layout import ServerSettings
from devbox.model import orchestrator as o
from devbox.model.errors import DevboxError, NotFound, Unauthorized, Unavailable
from devbox.model.grants import Scope
from devbox.model.projects import Project
from devbox.model.tokens import token_hash
from gateway.access import identify, no_project, unauthorized
from gateway.grants import Signer
from gateway.limits import Failures, Places
from gateway.rights import USER
from gateway.tunnel.box import Boxes
from gateway.tunnel.head import Head, session_request
from gateway.tunnel.links import Owner
from gateway.tunnel.target import Target, target_of


class TooMany(Unavailable):
    """A bound was reached. `wait_s` says when to come again."""

    http_status = 429

    def __init__(self, message: str, hint: str, wait_s: float = 1.0) -> None:
        super().__init__(message, hint)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Admitted:
    """Whose link it will be, to what."""

    project: Project
    token_id: str
    scopes: tuple[Scope, ...]
    until: float = 0.0
    """When the token ends, Unix seconds; 0 is never."""

    @classmethod
    def by(cls, checked: o.CheckedToken) -> "Admitted":
        """By one of the project's own tokens."""
        return cls(checked.project, checked.token_id, checked.scopes, checked.expires_at)

    @property
    def owner(self) -> Owner:
        """For the table of links."""
        key = o.ProjectKey(namespace=self.project.namespace, name=self.project.name)
        return Owner(key, self.project.uid, self.token_id)


class Door:
    """Admits requests and opens sessions in boxes."""

    def __init__(
        self,
        settings: ServerSettings,
        orchestrator: o.Orchestrator,
        signer: Signer,
        boxes: Boxes,
        failures: Failures,
        places: Places,
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._signer = signer
        self._boxes = boxes
        self._failures = failures
        self._places = places

    async def admit(self, head: Head, client: str) -> Admitted:
        """Check the credential. Raises Unauthorized, BadInput, NotFound, TooMany."""
        wait_s = self._failures.wait_s(client, time.monotonic())
        if wait_s:
            raise TooMany("too many wrong credentials came from here", "Wait a minute.", wait_s)
        target = target_of(head)
        try:
            admitted = await self._check(target)
        except Unauthorized:
            self._failures.note(client, time.monotonic())
            raise unauthorized() from None
        if (target.cluster, target.region) != (self._settings.cluster, self._settings.region):
            raise NotFound(
                f"this gateway does not serve /{target.cluster}/{target.region}",
                f"It serves /{self._settings.cluster}/{self._settings.region}.",
            )
        return admitted

    async def _check(self, target: Target) -> Admitted:
        key = target.key
        if target.in_path:
            checked = await self._orchestrator.check_token(
                o.CheckToken(
                    namespace=key.namespace, name=key.name, token_hash=token_hash(target.token)
                )
            )
            return Admitted.by(checked)
        caller = await identify(self._orchestrator, target.token, key)
        if caller.checked is not None:
            return Admitted.by(caller.checked)
        if caller.user is None or not caller.sees(key.namespace):
            raise no_project(key.namespace, key.name)
        try:
            project = await self._orchestrator.get_project(key)
        except NotFound:
            raise no_project(key.namespace, key.name) from None
        return Admitted(project, USER + caller.user.token_id, (Scope.FULL,))

    @contextlib.contextmanager
    def place(self, admitted: Admitted, client: str) -> Iterator[contextlib.ExitStack]:
        """Hold a place for a link; `pop_all` on what is given keeps it held. Raises TooMany."""
        if not self._places.take(admitted.token_id, client):
            raise TooMany("too many links are open", "Close some, or wait for others to end.")
        with contextlib.ExitStack() as held:
            held.callback(self._places.give, admitted.token_id, client)
            yield held

    async def open(self, admitted: Admitted, head: Head) -> tuple[socket.socket, bytes]:
        """A box's socket after its 101, and the bytes it sent so far."""
        project = await self._boxes.running(admitted.project)
        box = await self._boxes.dial(project)
        try:
            grant = self._signer.grant(
                project.uid, admitted.token_id, admitted.scopes, admitted.until
            )
            return box, await self._boxes.session(box, session_request(head, grant))
        except BaseException:
            box.close()
            raise


def status_of(error: DevboxError) -> tuple[int, float]:
    """HTTP status and seconds for Retry-After (0: none) of an error."""
    if isinstance(error, TooMany):
        return error.http_status, max(1.0, error.wait_s)
    return error.http_status, 5.0 if isinstance(error, Unavailable) else 0.0


async def send_all(sink: socket.socket, data: bytes, limit_s: float = 5.0) -> None:
    """Send a little that came before the relay began. Raises OSError, TimeoutError."""
    if data:
        async with asyncio.timeout(limit_s):
            await asyncio.get_running_loop().sock_sendall(sink, data)
