"""Puts the gateway together, listens, and drains."""

import asyncio
import ssl
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Self

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.edge.layout import ServerSettings
from devbox.edge.pacing import unpace_listeners
from devbox.edge.tasks import Tasks
from devbox.model.about import About
from devbox.model.errors import BadInput, Unavailable
from devbox.model.nodes import AGENT_PORT
from devbox.model.orchestrator import Orchestrator
from gateway.api.handlers import Api
from gateway.front import Front, Reception
from gateway.grants import Signer
from gateway.limits import Failures, Places
from gateway.tls import Secure
from gateway.tunnel.box import Boxes, Patience
from gateway.tunnel.door import Door
from gateway.tunnel.links import Links
from gateway.tunnel.revoke import Revoker
from gateway.tunnel.splice import Pipes
from gateway.watcher import News, Watcher
from gateway.web.app import application, runner

_log = structlog.get_logger()
_BACKLOG = 1024
_HANDSHAKE_S = 10.0
_STEP_S = 0.05
"""Between two cuts of links."""


@dataclass(frozen=True)
class Bounds:
    """How much of everything."""

    links: int = 8000
    links_per_token: int = 256
    links_per_client: int = 2048
    """Of one client address; an office behind one address is many people."""
    failures_per_minute: int = 60
    spared: tuple[str, ...] = ()
    """Client addresses whose wrong credentials and links are not counted."""
    waiting_heads: int = 6000
    head_s: float = 10.0
    pipes: int = 512
    drain_s: float = 10.0
    """How long it may take until the last link is closed when the gateway ends."""
    patience: Patience = field(default_factory=Patience)

    @classmethod
    def of(cls, descriptors: int) -> Self:
        """What a process with so many file descriptors can hold.

        A link takes two, a pipe two, a connection that waits for its head or for the API one.
        """
        pipes = min(512, descriptors // 16)
        waiting = min(6000, descriptors // 4)
        return cls(
            links=max(1, (descriptors - 2 * pipes) // 2 - 200),
            waiting_heads=waiting,
            pipes=pipes,
            spared=("127.0.0.1", "::1"),
        )


class Gateway:
    """A gateway; `start` listens, `close` drains."""

    def __init__(
        self,
        settings: ServerSettings,
        orchestrator: Orchestrator,
        key: Ed25519PrivateKey,
        *,
        bounds: Bounds | None = None,
        agent_port: int = AGENT_PORT,
    ) -> None:
        bounds = bounds or Bounds()
        self._settings = settings
        self._tls = trust(settings)
        self.tasks = Tasks("gateway")
        self.links = Links()
        self._drain_s = bounds.drain_s
        self.places = Places(
            bounds.links_per_token, bounds.links_per_client, bounds.links, bounds.spared
        )
        self._pipes = Pipes(bounds.pipes)
        failures = Failures(bounds.failures_per_minute, spared=bounds.spared)
        signer, news = Signer(key), News()
        door = Door(
            settings,
            orchestrator,
            signer,
            Boxes(orchestrator, news, port=agent_port, patience=bounds.patience),
            failures,
            self.places,
        )
        revoker = Revoker(orchestrator, signer, self.tasks, port=agent_port)
        self._watcher = Watcher(orchestrator, self.links, news, revoker)
        about = About(cluster=settings.cluster, region=settings.region, version=version("devbox"))
        self._runner = runner(application(Api(orchestrator, about, failures)))
        self._reception = Reception(
            door,
            self.links,
            self._pipes,
            self.tasks,
            self._http,
            head_s=bounds.head_s,
            most_waiting=bounds.waiting_heads,
        )
        self._server: asyncio.Server | None = None

    def _front(self) -> asyncio.Protocol:
        if self._tls is None:
            return Front(self._reception)
        made = partial(Front, self._reception)
        return Secure(self._tls, made, self._reception, _HANDSHAKE_S)

    def _http(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    async def start(self, *, reuse_port: bool = False) -> tuple[str, int]:
        """Listen; the host and port on which it does. Raises Unavailable when that fails."""
        await self._runner.setup()
        host, port = self._settings.gateway_host, self._settings.gateway_port
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._front,
                host,
                port,
                backlog=_BACKLOG,
                reuse_port=reuse_port or None,
            )
        except OSError as error:
            await self._runner.cleanup()
            raise Unavailable(
                f"the gateway cannot listen on {host}:{port}: {error.strerror or error}",
                "Another program may use the port; set gateway_port in server.toml.",
            ) from error
        unpace_listeners(self._server.sockets, host)
        self.tasks.start(self._watcher.run(), "watch", vital=True)
        name = self._server.sockets[0].getsockname()
        _log.info("gateway_listening", host=name[0], port=name[1], tls=self._tls is not None)
        return str(name[0]), int(name[1])

    async def close(self) -> None:
        """Accept nothing more, cut link after link (clients dial again), finish calls."""
        if self._server is not None:
            self._server.close()
        self._reception.close()
        cut = len(self.links)
        await self._drain()
        self.links.close_all()
        await self.tasks.close()
        await self._runner.cleanup()
        self._pipes.close()
        _log.info("gateway_closed", links=cut)

    async def _drain(self) -> None:
        """A few links are soon cut; for many all the time is taken, so that nobody is stormed."""
        steps = max(1, min(int(self._drain_s / _STEP_S), len(self.links)))
        share = -(-len(self.links) // steps)
        for _ in range(steps):
            if self.links.close_some(share):
                await asyncio.sleep(_STEP_S)


def trust(settings: ServerSettings) -> ssl.SSLContext | None:
    """The context for TLS on our own socket; None is plain. Raises BadInput."""
    if not settings.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"the certificate {settings.tls_cert} or its key cannot be used: {error}",
            "Mend tls_cert and tls_key in server.toml.",
        ) from error
    return context
