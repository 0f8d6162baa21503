"""asyncssh over a stream: the transport behaves as a socket's."""

import asyncio

import asyncssh
import pytest

from devbox.edge.links import BridgeServer, Stream, StreamTransport
from tests.support.links import pair

KEY = asyncssh.generate_private_key("ssh-ed25519")


class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


async def _process(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    data = await process.stdin.read()
    process.stdout.write(data[::-1])
    process.exit(7)


def _ssh_server() -> asyncssh.SSHServerConnection:
    options = asyncssh.SSHServerConnectionOptions(
        server_factory=_Server, server_host_keys=[KEY], process_factory=_process, encoding=None
    )
    return asyncssh.SSHServerConnection(asyncio.get_running_loop(), options, wait=None)


async def _serve(stream: Stream) -> None:
    await StreamTransport(stream, _ssh_server()).closed


@pytest.mark.timeout(30)
async def test_asyncssh_over_a_stream_with_a_cut() -> None:
    async with pair(_serve) as agent, agent.client() as session:
        server = BridgeServer(lambda: session.open("ssh"))
        port = await server.start_tcp("127.0.0.1", 0)
        client = await asyncssh.connect(
            "127.0.0.1", port, known_hosts=None, username="any", client_keys=None, config=None
        )
        agent.relay.budget = 300_000
        data = bytes(range(256)) * 4000
        done = await client.run("x", input=data, encoding=None)
        assert (done.stdout, done.exit_status) == (data[::-1], 7)
        assert agent.relay.accepted >= 2
        client.close()
        await client.wait_closed()
        await server.close()
