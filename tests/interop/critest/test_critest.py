"""critest, CRI's conformance suite, has the same pass set directly and through the shim."""

import asyncio
import fcntl
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devbox.edge.cri.client import Cri
from tests.interop.critest.building import critest
from tests.interop.critest.images import push_images
from tests.interop.critest.running import HALVES, Outcome, run
from tests.support.boxes import node_of, start_shim, until_answers
from tests.support.bundle import cache
from tests.support.containerd import ContainerdServer, running_containerd
from tests.support.registry import running_registry

LISTED = frozenset(Path(__file__).with_name("passes.txt").read_text().splitlines())
CANNOT = frozenset(
    {
        # it names a digest of a registry that is out of reach
        "Image Manager public image with digest should be pulled and removed [Conformance]",
        # the shell of Debian's busybox needs no /bin/ls
        "Security Context bucket runtime should support MaskedPaths",
    }
)

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def program() -> Path:
    return critest()


@pytest.fixture(scope="module")
def alone(program: Path) -> Iterator[None]:
    """Its specifications use fixed ports of the host: one run at a time."""
    with (cache() / "critest" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerdServer]:
    """A containerd that takes every image from our registry and forwards ports of the host."""
    with (
        running_registry(tmp_path_factory.mktemp("registry")) as registry,
        running_containerd() as made,
    ):
        push_images(registry.url)
        hosts = made.directory / "certs" / "_default" / "hosts.toml"
        hosts.parent.mkdir()
        hosts.write_text(f'[host."{registry.url}"]\n  capabilities = ["pull", "resolve"]\n')
        network = made.directory / "cni" / "10-test.conflist"
        plugins = json.loads(network.read_text())
        plugins["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})
        network.write_text(json.dumps(plugins))
        yield made


async def both(program: Path, server: ContainerdServer) -> tuple[Outcome, Outcome]:
    """All specifications at containerd, and through the shim; two runs at a time."""
    sockets = (server.socket, server.layout.cri_socket)
    found: dict[tuple[Path, str], Outcome] = {}

    async def one(socket: Path, half: str) -> None:
        found[socket, half] = await asyncio.to_thread(run, program, socket, half)

    for first, second in (HALVES, HALVES[::-1]):
        await asyncio.gather(one(sockets[0], first), one(sockets[1], second))
    direct, through = (found[socket, HALVES[0]] | found[socket, HALVES[1]] for socket in sockets)
    return direct, through


@asynccontextmanager
async def shim_of(server: ContainerdServer, runtime: Cri) -> AsyncIterator[None]:
    """The shim as a process, answering."""
    process = start_shim(server.layout)
    try:
        await until_answers(runtime)
        yield
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("alone")
async def test_the_pass_set_is_the_same(program: Path, server: ContainerdServer) -> None:
    async with node_of(server, shim=False) as node, shim_of(server, node.runtime):
        direct, through = await both(program, server)
    assert through.failed.keys() == direct.failed.keys(), (through.failed, direct.failed)
    assert through.passed == direct.passed
    assert LISTED - direct.passed == set(), direct.failed
    assert direct.failed.keys() <= CANNOT, direct.failed
    assert len(LISTED) > 70
