"""A gateway on a free port with a fake Orchestrator, and a fake agent that echoes."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devbox.edge.layout import ServerSettings
from devbox.model import orchestrator as o
from devbox.model.grants import GRANT_HEADER, Grant, Scope, verify
from devbox.model.projects import ProjectSpec
from gateway.server import Bounds, Gateway
from tests.support.orchestrator import FakeOrchestrator

KEY = o.ProjectKey(namespace="team", name="hello")
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@dataclass
class FakeAgent:
    """Takes sessions on a raw socket and echoes. `uid` is the project it believes to be in."""

    key: Ed25519PrivateKey
    uid: str = ""
    answer: bytes = ANSWER
    greeting: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    revoked: asyncio.Queue[list[str]] = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    tunnels: list[asyncio.StreamWriter] = field(default_factory=list)
    ends: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    port: int = 0
    echo: bool = True
    last_words: bytes = b""
    """Said after the client's end."""
    silent: int = 0
    """So many requests are dropped without an answer."""
    too_old: bool = False
    """It cannot tell whose sessions it has."""
    sessions: list[str] = field(default_factory=list)
    """Token ids that it claims to have sessions of."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            if self.silent:
                self.silent -= 1
                writer.transport.abort()
                return
            self._check(head)
            if head.startswith(b"POST /revoke "):
                await self._revoke(head, reader, writer)
                return
            if head.startswith(b"GET /tokens "):
                self._tell(writer)
                return
            writer.write(self.answer + self.greeting)
            if not self.answer.startswith(b"HTTP/1.1 101"):
                writer.close()
                return
            self.tunnels.append(writer)
            await self._echo(reader, writer)

    def _check(self, head: bytes) -> None:
        headers = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line
        )
        grant = verify(
            headers[GRANT_HEADER], self.key.public_key(), project_uid=self.uid, now=time.time()
        )
        assert grant.nonce not in {known.nonce for known in self.grants}
        self.grants.append(grant)

    def _tell(self, writer: asyncio.StreamWriter) -> None:
        assert self.grants[-1].scopes == (Scope.REVOKE,)
        answer = _ok(json.dumps({"token_ids": self.sessions}).encode())
        writer.write(answer.replace(b"200 OK", b"404 Not Found") if self.too_old else answer)
        writer.close()

    async def _revoke(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        assert self.grants[-1].scopes == (Scope.REVOKE,)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        writer.write(_ok(b"{}"))
        writer.close()
        await self.revoked.put(body["token_ids"])

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 18):
                if self.echo:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError as error:
            self.ends.put_nowait(type(error).__name__)
            return
        self.ends.put_nowait("eof")
        writer.write(self.last_words)
        writer.close()


def _ok(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@dataclass
class House:
    """A gateway with all around it."""

    fake: FakeOrchestrator
    gateway: Gateway
    agent: FakeAgent
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def project(self, key: o.ProjectKey = KEY, *, start: bool = True) -> o.CreatedProject:
        """Make a project whose box is the fake agent."""
        created = await self.fake.create_project(
            o.CreateProject(
                namespace=key.namespace,
                name=key.name,
                spec=ProjectSpec(runtime="python"),
                start=start,
            )
        )
        self.agent.uid = created.project.uid
        return created

    async def user(self, name: str, *namespaces: str) -> str:
        """Make a user; the token."""
        made = await self.fake.make_user(o.MakeUser(name=name, namespaces=namespaces))
        return made.token

    async def dial(self, path: str, bearer: str = "", **extra: str) -> "Dialled":
        """Ask for a tunnel."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(upgrade(path, bearer, **extra))
        return Dialled(reader, writer)


@dataclass
class Dialled:
    """A client's end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The answer's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def refusal(self) -> tuple[int, dict[str, Any], bytes]:
        """Status, body, all bytes of an answer that is no 101."""
        everything = await self.reader.read()
        self.writer.close()
        head, _, body = everything.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), json.loads(body), everything

    async def echo(self, data: bytes) -> bytes:
        """Send, and read as much back."""
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    def reset(self) -> None:
        """End abruptly."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def __aenter__(self) -> "Dialled":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


def upgrade(path: str, bearer: str = "", **extra: str) -> bytes:
    """A client's request."""
    key = base64.b64encode(b"0" * 16).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: here",
        "Connection: keep-alive, Upgrade",
        "Upgrade: WebSocket",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if bearer:
        lines.append(f"Authorization: Bearer {bearer}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in extra.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@contextlib.asynccontextmanager
async def house(
    settings: ServerSettings | None = None, *, bounds: Bounds | None = None, node_works: bool = True
) -> AsyncIterator[House]:
    """A gateway, served."""
    key = Ed25519PrivateKey.generate()
    fake = FakeOrchestrator(node_works=node_works)
    agent = FakeAgent(key)
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.port = server.sockets[0].getsockname()[1]
    gateway = Gateway(
        settings or ServerSettings(gateway_port=0), fake, key, bounds=bounds, agent_port=agent.port
    )
    try:
        host, port = await gateway.start()
        yield House(fake, gateway, agent, host, port)
    finally:
        await gateway.close()
        server.close()
        for writer in agent.writers:
            writer.transport.abort()
