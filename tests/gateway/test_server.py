"""The whole gateway: TLS, real sessions through it, pages, its process."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from devbox.edge.api import Api
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.links import Request, SessionServer, Stream, Target, connect, listen
from devbox.edge.rpc import serve
from devbox.model import orchestrator as o
from devbox.model.errors import BadInput, Internal, Unauthorized, Unavailable
from devbox.model.grants import GRANT_HEADER, Grant, verify
from devbox.model.projects import ProjectSpec
from gateway.grants import read_key
from gateway.server import Bounds, trust
from tests.support.gateway import House, house, upgrade
from tests.support.orchestrator import FakeOrchestrator
from tests.support.tls_client import Client

PLACE = "/home/here/team/hello"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + made.public_bytes(Encoding.PEM)
    )
    return path


@contextlib.asynccontextmanager
async def real_agent(found: House) -> AsyncIterator[None]:
    """Serve the real session server in place of the fake agent."""

    async def echo(stream: Stream) -> None:
        while data := await stream.read(1 << 16):
            await stream.write(data)
        await stream.end()

    def admit(request: Request) -> Grant:
        return verify(
            request.headers[GRANT_HEADER.lower()],
            found.agent.key.public_key(),
            project_uid=found.agent.uid,
            now=time.time(),
        )

    sessions = SessionServer(echo, may_open=lambda service, _: service == "echo")
    listener = await listen("127.0.0.3", found.agent.port, sessions, verify=admit)
    found.fake.box_ip = "127.0.0.3"
    try:
        yield
    finally:
        await listener.close()
        await sessions.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_real_session_goes_through(certificate: Path, secure: bool) -> None:
    pem = str(certificate) if secure else ""
    settings = ServerSettings(gateway_port=0, tls_cert=pem)
    data = os.urandom(2 << 20)
    async with house(settings) as found, real_agent(found):
        token = (await found.project()).token
        trusted = ssl.create_default_context(cafile=pem) if secure else None
        scheme = "wss" if secure else "ws"
        url = f"{scheme}://{found.host}:{found.port}{PLACE}"
        async with connect(url, target=Target(url, token, ssl=trusted)) as session:
            stream = await session.open("echo", {})

            async def send() -> None:
                await stream.write(data)
                await stream.end()

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                back = b""
                while more := await stream.read(1 << 16):
                    back += more
        assert back == data


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_session_survives_that_its_links_are_cut(certificate: Path, secure: bool) -> None:
    pem = str(certificate) if secure else ""
    async with house(ServerSettings(gateway_port=0, tls_cert=pem)) as found, real_agent(found):
        token = (await found.project()).token
        trusted = ssl.create_default_context(cafile=pem) if secure else None
        url = f"{'wss' if secure else 'ws'}://{found.host}:{found.port}{PLACE}/{token}"
        async with connect(url, target=Target(url, ssl=trusted)) as session:
            stream = await session.open("echo", {})
            for word in (b"one", b"two", b"three"):
                await stream.write(word)
                assert await stream.read(99) == word
                assert found.gateway.links.close_all() >= 1


async def test_a_real_session_is_refused_in_words() -> None:
    async with house() as found:
        await found.project()
        with pytest.raises(Unauthorized):
            async with connect(f"{found.url}{PLACE}", "0" * 32):
                pass


async def test_tls_ends_and_refusals(certificate: Path) -> None:
    settings = ServerSettings(gateway_port=0, tls_cert=str(certificate))
    trusted = ssl.create_default_context(cafile=str(certificate))
    async with house(settings) as found:
        token = (await found.project()).token
        for path, status in ((f"{PLACE}/{token}", b"101"), (PLACE, b"401")):
            reader, writer = await asyncio.open_connection(found.host, found.port, ssl=trusted)
            writer.write(upgrade(path))
            assert status in await reader.readuntil(b"\r\n\r\n")
            writer.close()
        assert await found.agent.ends.get() == "eof"
        async with Api(
            f"https://{found.host}:{found.port}", found.fake.admin_token, certificate
        ) as api:
            assert (await api.me()).admin
        async with Api(f"https://{found.host}:{found.port}", "") as stranger:
            with pytest.raises(Unavailable, match="not trusted"):
                await stranger.me()


def test_a_bad_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nothing\.pem"):
        trust(ServerSettings(tls_cert=str(tmp_path / "nothing.pem")))


def test_a_bad_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grant.key"
    with pytest.raises(Unavailable, match=r"grant\.key"):
        read_key(path)
    path.write_text("no key")
    with pytest.raises(Unavailable, match=r"grant\.key"):
        read_key(path)


async def test_a_taken_port_is_told() -> None:
    async with house() as first:
        with pytest.raises(Unavailable, match="cannot listen"):
            async with house(ServerSettings(gateway_port=first.port)):
                pass


async def test_what_answers_is_checked() -> None:
    async with house() as found:
        async with Api(f"{found.url}/elsewhere", "x") as api:
            with pytest.raises(Internal, match="not this version's gateway"):
                await api.me()
        async with Api("http://127.0.0.1:1", "x") as api:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await api.me()


@pytest.mark.smoke
async def test_pages_and_health() -> None:
    async with house() as found, aiohttp.ClientSession() as http:
        for path, status, word in (
            ("/", 200, "Devbox"),
            ("/healthz", 200, "ok"),
            ("/nothing/<script>", 404, "no such page"),
            (f"{PLACE}/{'0' * 32}", 404, "no such page"),
            ("/api/v1/nothing", 404, "not_found"),
        ):
            async with http.get(f"{found.url}{path}") as answer:
                text = await answer.text()
                assert (answer.status, word in text) == (status, True)
                assert "<script>" not in text
                assert "0" * 32 not in text
                assert answer.headers["Server"] == "devbox"


async def test_a_tunnel_on_a_used_connection_is_told_to_dial_anew() -> None:
    async with house() as found:
        token = (await found.project()).token
        reader, writer = await asyncio.open_connection(found.host, found.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade(f"{PLACE}/{token}"))
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 ") == 2
        assert b"connection of its own" in answers
        assert found.agent.requests == []
        writer.close()


def test_bounds_follow_the_descriptors() -> None:
    for descriptors in (1024, 20_000, 1 << 20):
        bounds = Bounds.of(descriptors)
        assert 0 < bounds.links * 2 + bounds.pipes * 2 < descriptors
    assert Bounds.of(20_000).links >= 9000


async def test_the_process_serves_and_ends_on_sigterm() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        layout = Layout(Path(directory, "data"), Path(directory, "run"))
        layout.keys.mkdir(parents=True)
        layout.run.mkdir()
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (layout.keys / "grant.key").write_bytes(pem)
        layout.settings.write_text("gateway_port = 0\n")
        fake = FakeOrchestrator()
        controller = await serve(
            layout.orchestrator_socket, protocol=o.Orchestrator, implementation=fake
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "--data", str(layout.data), "--run", str(layout.run),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await _use(process, fake)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await controller.cleanup()


async def _use(process: asyncio.subprocess.Process, fake: FakeOrchestrator) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"gateway_listening" not in (line := await process.stderr.readline()):
            assert line
        port = json.loads(line)["port"]
        async with Api(f"http://127.0.0.1:{port}", fake.admin_token) as api:
            spec = ProjectSpec(runtime="python")
            await api.create_project(
                o.CreateProject(namespace="team", name="hello", spec=spec, start=False)
            )
        process.send_signal(signal.SIGTERM)
        rest = await process.stderr.read()
        assert await process.wait() == 0
    assert b"gateway_closed" in rest
    assert fake.admin_token.encode() not in rest


@pytest.mark.timeout(30)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_box_that_was_told_the_end_may_still_answer(
    certificate: Path, secure: bool
) -> None:
    """Half-closed links, and breaks, are the same with TLS and without."""
    pem = str(certificate) if secure else ""
    trusted = ssl.create_default_context(cafile=pem) if secure else None
    async with house(ServerSettings(gateway_port=0, tls_cert=pem)) as found:
        found.agent.last_words = b"and you"
        token = (await found.project()).token
        client = await Client.dial(found.host, found.port, trusted)
        await client.send(upgrade(f"{PLACE}/{token}"))
        assert b" 101 " in await client.until(b"\r\n\r\n")
        await client.send(b"bye")
        await client.end()
        assert await client.exactly(99) == b"byeand you"
        assert await found.agent.ends.get() == "eof"
        client.sock.close()
        while len(found.gateway.links):
            await asyncio.sleep(0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_slow_reader_holds_little(certificate: Path, secure: bool) -> None:
    """What the box writes stays with the box while the client does not read; nothing is lost."""
    pem = str(certificate) if secure else ""
    trusted = ssl.create_default_context(cafile=pem) if secure else None
    async with house(ServerSettings(gateway_port=0, tls_cert=pem)) as found:
        token = (await found.project()).token
        client = await Client.dial(found.host, found.port, trusted)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        await client.send(upgrade(f"{PLACE}/{token}"))
        await client.until(b"\r\n\r\n")
        (writer,) = found.agent.tunnels
        (link,) = found.gateway.links.all()
        data = os.urandom(24 << 20)
        writer.write(data)
        moved = -1
        while moved != link.moved:
            moved = link.moved
            await asyncio.sleep(0.3)
        assert link.held <= 1 << 20
        assert moved < len(data)
        assert await client.exactly(len(data)) == data
        client.sock.close()
