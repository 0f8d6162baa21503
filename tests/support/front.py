"""A gateway in miniature for clients' tests: one project, its API answer, its box's services.

The box is an SSH server that runs real shells, and TCP to this machine's loopback.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncssh
import msgspec

from devbox.edge.links import Stream, pump_socket
from devbox.edge.rpc import failure_of
from devbox.edge.tasks import Tasks
from devbox.model.about import About
from devbox.model.address import Address
from devbox.model.errors import Unauthorized, Unavailable
from devbox.model.projects import Desired, Image, Phase, Project, ProjectSpec, ProjectStatus
from tests.support.links import Pair, pair

TOKEN = "00112233445566778899aabbccddeeff"
ADDRESS = Address("home", "here", "default", "hello", TOKEN)


class _Files(asyncssh.SFTPServer):
    """Ends as OpenSSH's does: scp wants a status."""

    def exit(self) -> None:
        self.channel.exit(0)


class _Welcoming(asyncssh.SSHServer):
    """The address authenticated already."""

    def begin_auth(self, username: str) -> bool:
        return False


async def _shell(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command or "sh",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    async with Tasks("shell") as tasks:
        tasks.start(_feed(process.stdin, child.stdin), "stdin")
        await asyncio.gather(
            _drain(child.stdout, process.stdout), _drain(child.stderr, process.stderr)
        )
        process.exit(await child.wait())


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()


@dataclass
class Front:
    """The gateway's port, and the links behind it, which a test may cut."""

    port: int
    pair: Pair
    project: Project
    requests: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.port}{ADDRESS}"


@contextlib.asynccontextmanager
async def front() -> AsyncIterator[Front]:
    """Everything closed afterwards."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Welcoming,
        server_host_keys=[key],
        process_factory=_shell,
        sftp_factory=_Files,
        encoding=None,
    )

    async def serve(stream: Stream) -> None:
        port = server.get_port() if stream.service == "ssh" else stream.params["port"]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await stream.close(Unavailable(f"nothing listens on port {port} in the box"))
            return
        await pump_socket(stream, reader, writer)

    public = key.export_public_key().decode().strip()
    async with pair(serve) as links, Tasks("front") as tasks:
        door = _Door(links, _project(public), tasks)
        listening = await asyncio.start_server(door.accept, "127.0.0.1", 0)
        try:
            port = listening.sockets[0].getsockname()[1]
            yield Front(port, links, door.project, door.requests)
        finally:
            listening.close()
            server.close()
            await server.wait_closed()
    await asyncio.sleep(0)  # closed transports let go of their sockets in the next round


def _project(host_key: str) -> Project:
    return Project(
        uid="p1",
        namespace=ADDRESS.namespace,
        name=ADDRESS.project,
        spec=ProjectSpec(runtime="python"),
        image=Image(
            repository="runtimes/python", digest="sha256:" + "0" * 64, architecture="amd64"
        ),
        desired=Desired.RUNNING,
        generation=1,
        host_key=host_key,
        created_at=1.0,
        status=ProjectStatus(phase=Phase.RUNNING, box_ip="127.0.0.1"),
    )


class _Door:
    """Answers for the one project, or hands the bytes to its box."""

    def __init__(self, links: Pair, project: Project, tasks: Tasks) -> None:
        self.project = project
        self.requests: list[str] = []
        self._links = links
        self._tasks = tasks

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start(self._serve(reader, writer), "serve")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ", 2)[1]
            self.requests.append(path)
            allowed = f"authorization: bearer {TOKEN}" in head.lower()
            if not allowed:
                await self._answer(writer, 401, failure_of(Unauthorized("no such project")))
            elif path.startswith("/api/"):
                about = About(version="9.9.9", cluster="home", region="here")
                await self._answer(writer, 200, about if "/server" in path else self.project)
            else:
                await self._tunnel(head.replace(path, "/session", 1), reader, writer)

    async def _answer(self, writer: asyncio.StreamWriter, status: int, body: object) -> None:
        data = msgspec.json.encode(body)
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()

    async def _tunnel(
        self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._links.relay.port)
        with contextlib.closing(back):
            back.write(head.encode())
            up = self._tasks.start(_copy(reader, back), "up")
            await _copy(there, writer)
            up.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
