"""`devbox ssh` and what stands on it, with the real OpenSSH client."""

import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from devbox.cli import config
from devbox.model.errors import Conflict
from tests.support.front import TOKEN, Front, front

DEVBOX = Path(sys.executable).with_name("devbox")
LIMIT_S = 30.0


@dataclass
class Shell:
    """A person at a terminal of a machine that knows nothing."""

    front: Front
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    async def run(
        self, *words: str, stdin: bytes = b"", program: str = str(DEVBOX), **env: str
    ) -> tuple[int, bytes, bytes]:
        process = await self.start(*words, program=program, **env)
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out, err

    async def start(
        self, *words: str, program: str = str(DEVBOX), **env: str
    ) -> asyncio.subprocess.Process:
        clean = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            program,
            *words,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**clean, "HOME": str(self.home), "DEVBOX_ROOT": "/nonexistent", **env},
        )


@pytest.fixture
async def shell(home: Path) -> AsyncIterator[Shell]:
    """Logged in to a gateway with one project, by the project's token alone."""
    async with front() as gateway:
        context = config.Context("work", gateway.url, cluster="home", region="here")
        config.put_context(context, "", use=True)
        config.keep_project_token("work", "default/hello", TOKEN)
        yield Shell(gateway, home)


@pytest.mark.smoke
async def test_a_command_has_its_own_streams_and_status(shell: Shell) -> None:
    code, out, err = await shell.run(
        "ssh", "hello", "--", "echo out; echo err >&2; cat; exit 7", stdin=b"in\n"
    )
    assert (code, out, err) == (7, b"out\nin\n", b"err\n")


async def test_the_address_is_enough_and_stays_secret(shell: Shell, tmp_path: Path) -> None:
    """Nothing that was started shows the token to other users of the machine."""
    nobody = Shell(shell.front, tmp_path / "nobody")
    nobody.home.mkdir()
    secret = tmp_path / "address"
    secret.write_text(shell.front.address + "\n")
    words = ("ssh", "--address-file", str(secret), "--", "echo ready; cat")
    process = await nobody.start(*words)
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"ready\n"
        lines = [_command_line(pid) for pid in _family(process.pid)]
        assert any("--stdio" in line for line in lines)
        assert not any(TOKEN in line for line in lines)
        process.stdin.close()
        assert await process.wait() == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        children = Path(f"/proc/{one}/task/{one}/children").read_text().split()
        found += map(int, children)
    return found


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


async def test_the_address_may_come_from_the_environment(shell: Shell, tmp_path: Path) -> None:
    nobody = Shell(shell.front, tmp_path)
    code, out, _ = await nobody.run("ssh", "--", "echo", "in", DEVBOX_ADDRESS=shell.front.address)
    assert (code, out) == (0, b"in\n")


async def test_a_wrong_address_is_refused_before_ssh_starts(shell: Shell) -> None:
    wrong = shell.front.address.replace(TOKEN, "f" * 32)
    code, out, err = await shell.run("ssh", "--", "echo", "in", DEVBOX_ADDRESS=wrong)
    assert (code, out, err) == (3, b"", b"error: no such project\n")


async def test_a_changed_host_key_is_noticed(shell: Shell) -> None:
    pinned = shell.home / ".config/devbox/known_hosts"
    pinned.write_text("devbox-p1 ssh-ed25519 AAAA\n")
    code, out, err = await shell.run("ssh", "hello", "--", "echo in")
    assert (code, out) == (5, b"")
    assert b"is not the one that was pinned" in err


async def test_much_data_arrives_whole_both_ways_while_links_are_cut(shell: Shell) -> None:
    data = os.urandom(1 << 20) * 12
    shell.front.pair.relay.budget = 5 << 20
    code, out, err = await shell.run("ssh", "hello", "--", "cat", stdin=data)
    assert (code, len(out), err) == (0, len(data), b"")
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert shell.front.pair.relay.accepted > 1


async def test_plain_ssh_by_proxy_command(shell: Shell, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"hello {shell.front.project.host_key}\n")
    code, out, err = await shell.run(
        *("-F", "none", "-o", f"ProxyCommand='{DEVBOX}' ssh --stdio hello"),
        *("-o", f"UserKnownHostsFile={known}", "anybody@hello", "echo in"),
        program="/usr/bin/ssh",
    )
    assert (code, out, err) == (0, b"in\n", b"")


async def test_stdio_ends_when_the_far_end_does(shell: Shell) -> None:
    """Its own stdin stays open, as an ssh client's may."""
    process = await shell.start("ssh", "--stdio", "hello")
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert (await process.stdout.readline()).startswith(b"SSH-2.0-")
        process.stdin.write(b"this is no SSH\r\n")
        await process.stdin.drain()
        await process.stdout.read()
        assert await process.wait() == 0


ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("remote", ["sleep 971", "cat /dev/zero", "cat >/dev/null"])
async def test_an_ssh_that_was_ended_leaves_no_session(
    shell: Shell, tmp_path: Path, number: signal.Signals, remote: str
) -> None:
    """Whatever ssh does to its ProxyCommand, idle or with bytes under way in either direction."""
    known = tmp_path / "known"
    known.write_text(f"hello {shell.front.project.host_key}\n")
    clean = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with open("/dev/zero", "rb") as zeros:
        process = await asyncio.create_subprocess_exec(
            *("/usr/bin/ssh", "-F", "none", "-o", f"ProxyCommand='{DEVBOX}' ssh --stdio hello"),
            *("-o", f"UserKnownHostsFile={known}", "anybody@hello", f"echo up; {remote}"),
            stdin=zeros if remote.startswith("cat >") else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**clean, "HOME": str(shell.home), "DEVBOX_ROOT": "/nonexistent"},
        )
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await process.stdout.readline() == b"up\n"
        assert len(shell.front.pair.server.sessions) == 1
        process.send_signal(number)
        while await process.stdout.read(1 << 20):
            pass
        assert await process.wait() != 0
        while shell.front.pair.server.sessions:
            await asyncio.sleep(0.02)


async def test_ended_while_it_greets_it_leaves_no_session(shell: Shell) -> None:
    shell.front.pair.relay.mute = True
    process = await shell.start("ssh", "--stdio", "hello")
    async with asyncio.timeout(LIMIT_S):
        while not shell.front.pair.server.sessions:
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
        while shell.front.pair.server.sessions:
            await asyncio.sleep(0.02)


async def test_a_gateway_that_is_down_is_one_sentence(shell: Shell) -> None:
    context = config.Context("work", "http://127.0.0.1:1", cluster="home", region="here")
    config.put_context(context, "", use=True)
    code, out, err = await shell.run("ssh", "hello", "--", "echo in")
    assert (code, out) == (6, b"")
    assert err.splitlines()[0] == b"error: the gateway at http://127.0.0.1:1 cannot be reached"


@pytest.mark.parametrize("recursive", [False, True])
async def test_cp_there_and_back(shell: Shell, tmp_path: Path, recursive: bool) -> None:
    here, there, back = (tmp_path / name for name in ("he:re", "there", "back"))
    flags = ("-r",) if recursive else ()
    if recursive:
        here.mkdir()
    content = here / "file" if recursive else here
    content.write_bytes(b"\0content")
    code, _, err = await shell.run("cp", *flags, str(here), f"hello:{there}")
    assert (code, err) == (0, b"")
    code, _, err = await shell.run("cp", *flags, f"hello:{there}", str(back))
    assert (code, err) == (0, b"")
    assert (back / "file" if recursive else back).read_bytes() == b"\0content"


async def test_cp_needs_one_project(shell: Shell) -> None:
    for words in (("a", "b"), ("hello:a", "other:b"), ("hello:a",)):
        code, _, _ = await shell.run("cp", *words)
        assert code == 2


async def test_forwards_carry_both_ways_and_end_on_ctrl_c(shell: Shell) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await shell.start("forward", "hello", f"0:{port}", "0:1")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        first = (await process.stdout.readline()).decode()
        assert first.endswith(f" -> {port}\n")
        local = int(first.split(" ")[0].split(":")[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()
        dead = int((await process.stdout.readline()).decode().split(" ")[0].split(":")[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", dead)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        process.send_signal(2)
        assert await process.wait() == 130
        said = (await process.stderr.read()).decode()
    assert "nothing listens on port 1 in the box" in said
    assert said.endswith("Interrupted. The forwards are closed; the box goes on.\n")
    assert "Traceback" not in said
    server.close()


async def test_listening_for_clients_that_take_no_proxy_command(
    shell: Shell, tmp_path: Path
) -> None:
    process = await shell.start("ssh", "--listen", "0", "hello")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        place, _, print_ = (await process.stdout.readline()).decode().strip().partition(" ")
        port = place.split(":")[1]
        key = asyncssh.import_public_key(shell.front.project.host_key)
        assert print_ == f"is SSH in the box, whose host key is {key.get_fingerprint()}"
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{port} {shell.front.project.host_key}\n")
        pinned = ("-F", "none", "-o", f"UserKnownHostsFile={known}", "-p", port)
        for _ in range(2):
            words = (*pinned, "anybody@127.0.0.1", "cat; exit 7")
            done = await shell.run(*words, stdin=b"in", program="/usr/bin/ssh")
            assert done == (7, b"in", b"")
        taken = await shell.run("ssh", "--listen", port, "hello")
        assert taken[0] == Conflict.exit_code
        process.send_signal(2)
        assert await process.wait() == 130
        said = (await process.stderr.read()).decode()
    assert "everybody who can log in to this machine can enter the box" in said
    assert said.endswith("Interrupted. The port is closed; the box goes on.\n")


async def test_one_way_to_carry_ssh_at_a_time(shell: Shell) -> None:
    code, out, err = await shell.run("ssh", "--listen", "0", "--stdio", "hello")
    assert (code, out) == (2, b"")
    assert err.startswith(b"error: --stdio and --listen are two ways")


async def test_ping_names_the_hops(shell: Shell) -> None:
    code, out, err = await shell.run("ping", "hello", "--count", "2")
    assert (code, err) == (0, b"")
    assert [line.split()[0] for line in out.decode().splitlines()] == [
        "TO",
        "gateway",
        "box",
        "box",
    ]
