"""A client in a network namespace of its own whose address changes and whose link goes down."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

import pytest

from devbox.edge.links import SessionServer, SessionState, listen
from devbox.edge.links.network import Verdict, judge, watch_network
from tests.support.links import claimed_grant, echo
from tests.support.networks import Laptop, laptop

DEAD_S = 9.0
"""What it takes to notice without a network change."""


class Client:
    """An echo client inside, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, server: SessionServer) -> None:
        self.process = process
        self.server = server

    async def hear(self, beginning: str, limit_s: float = 15.0) -> str:
        """The next line that begins so."""
        assert self.process.stdout is not None
        async with asyncio.timeout(limit_s):
            while line := (await self.process.stdout.readline()).decode():
                if line.startswith(beginning):
                    return line
        raise AssertionError(f"it ended before it said '{beginning}'")

    async def end(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.close()
        said = await self.hear("all")
        assert await self.process.wait() == 0
        return said


@contextlib.asynccontextmanager
async def client_in(there: Laptop) -> AsyncIterator[Client]:
    server = SessionServer(echo, may_open=lambda *_: True)
    listener = await listen(there.host_ip, 0, server, verify=claimed_grant)
    url = f"http://{there.host_ip}:{listener.port}/session"
    command = there.run(sys.executable, "-m", "tests.support.echo_client", url)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Client(process, server)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.close()
        await listener.close()


@pytest.mark.root
@pytest.mark.timeout(60)
async def test_a_changed_address_and_a_link_that_was_down() -> None:
    with laptop() as there:
        async with client_in(there) as client:
            await client.hear("block 3")
            begun = time.monotonic()
            there.move(2, 3)
            assert "the network changed" in await client.hear("state linkless")
            await client.hear("state linked")
            await client.hear("block")
            assert time.monotonic() - begun < DEAD_S / 2
            there.link("down")
            await asyncio.sleep(1.0)
            there.link("up")
            for _ in range(3):
                await client.hear("block")
            assert "blocks came back" in await client.end()


@pytest.mark.root
@pytest.mark.timeout(120)
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_network_that_swallows_everything_is_noticed() -> None:
    """Nothing is refused and no interface changes: only silence tells, at either end."""
    with laptop() as there:
        async with client_in(there) as client:
            await client.hear("block 3")
            with there.swallowing():
                said = await client.hear("state linkless", limit_s=3 * DEAD_S)
                assert "nothing was heard" in said
                while any(one.state is SessionState.LINKED for one in client.server.sessions):
                    await asyncio.sleep(0.05)
            await client.hear("state linked", limit_s=4 * DEAD_S)
            for _ in range(3):
                await client.hear("block")
            assert "blocks came back" in await client.end()


@pytest.mark.root
async def test_changes_are_told_once_a_burst() -> None:
    """In a namespace of its own, for this machine's network changes by itself."""
    with laptop() as there:
        code = (
            "import asyncio, subprocess\n"
            "from devbox.edge.links.network import watch_network\n"
            "async def main():\n"
            "    told = []\n"
            "    stop = watch_network(lambda: told.append(1))\n"
            "    for last in range(10, 15):\n"
            f"        address = '{there.net}.%d/24' % last\n"
            "        subprocess.run(['ip', 'addr', 'add', address, 'dev', 'eth0'], check=True)\n"
            "    await asyncio.sleep(0.3)\n"
            "    stop()\n"
            "    subprocess.run(['ip', 'link', 'set', 'eth0', 'down'], check=True)\n"
            "    await asyncio.sleep(0.1)\n"
            "    print(len(told))\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            *there.run(sys.executable, "-c", code), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert out == b"1\n"


def test_what_a_change_means() -> None:
    assert judge("127.0.0.1", "127.0.0.1") is Verdict.SAME
    assert judge("198.51.100.7", "127.0.0.1") is Verdict.GONE
    assert judge("127.0.0.2", "127.0.0.1") is Verdict.MOVED


async def test_watching_can_be_stopped_twice_a_loop() -> None:
    for _ in range(2):
        watch_network(lambda: None)()
