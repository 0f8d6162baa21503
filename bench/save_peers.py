"""What else turns a container's files into a pushed image: buildah, podman, docker, bare tools.

Each peer has the tree in a container of its own before the clock starts; it commits and pushes to
the same registry as we do. Where a tool is not installed its row is left out.
"""

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.support.registry import RegistryServer

_PIPELINE = "tar -C {tree} --format=posix --xattrs --acls -cf - . | zstd -q -1 -T0 | sha256sum"
_EMPTY_TAR = bytes(10240)
_DAEMON_STARTS_S = 30.0
Times = dict[str, float]


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def run(*command: str) -> str:
    """Run a command; its output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.decode()}")
    return output.decode().strip()


async def pipeline(tree: Path) -> Times:
    """The bare work; pushes nothing."""
    return {"tar | zstd | sha256sum": await _shell(_PIPELINE.format(tree=tree))}


async def upload(server: RegistryServer, tree: Path, directory: Path) -> Times:
    """The registry's part alone: curl sends it the finished layer in one piece."""
    layer = directory / "layer"
    await _shell(f"tar -C {tree} --format=posix --xattrs --acls -cf - . | zstd -q -1 -o {layer}")
    begin = f"curl -sf -D - -o /dev/null -X POST {server.url}/v2/bench/curl/blobs/uploads/"
    head = await run(*begin.split())
    where = next(line for line in head.splitlines() if line.lower().startswith("location:"))
    send = ["curl", "-sf", "-o", "/dev/null", "-X", "PATCH", "-T", str(layer)]
    kind = ["-H", "Content-Type: application/octet-stream", "-H", "Expect:"]
    seconds = await timed(partial(run, *send, *kind, where.split(maxsplit=1)[1].strip()))
    layer.unlink()
    return {"curl: finished layer, push only": seconds}


async def buildah(server: RegistryServer, tree: Path, directory: Path) -> Times:
    """Commit and push of a working container that holds the tree."""
    if not shutil.which("buildah"):
        return {}
    tool = ("buildah", "--root", str(directory / "ours"), "--runroot", str(directory / "run"))
    container = await run(*tool, "from", "scratch")
    await run(*tool, "copy", "-q", container, str(tree), "/")
    return {"buildah commit + push": await _commit(server, tool, ("commit", "-q"), container)}


async def podman(server: RegistryServer, tree: Path, directory: Path) -> Times:
    """The same with podman."""
    if not shutil.which("podman"):
        return {}
    tool = ("podman", "--root", str(directory / "ours"), "--runroot", str(directory / "run"))
    container = await _filled(tool, tree, directory)
    return {"podman commit + push": await _commit(server, tool, ("commit", "-q"), container)}


async def docker(server: RegistryServer, tree: Path, directory: Path) -> Times:
    """The same with a docker daemon of its own."""
    if not shutil.which("dockerd"):
        return {}
    async with _daemon(directory) as socket:
        tool = ("docker", "-H", f"unix://{socket}")
        container = await _filled(tool, tree, directory)
        return {"docker commit + push": await _commit(server, tool, ("commit",), container, ())}


async def _filled(tool: tuple[str, ...], tree: Path, directory: Path) -> str:
    """A container, never started, that holds the tree."""
    empty = directory / "empty.tar"
    empty.write_bytes(_EMPTY_TAR)
    await run(*tool, "import", str(empty), "bench/empty:1")
    container = (await run(*tool, "create", "bench/empty:1", "/none")).splitlines()[-1]
    await run(*tool, "cp", f"{tree}/.", f"{container}:/")
    return container


async def _commit(
    server: RegistryServer,
    tool: tuple[str, ...],
    commit: tuple[str, ...],
    container: str,
    plain: tuple[str, ...] = ("--tls-verify=false", "-q"),
) -> float:
    image = f"{server.host}/bench/{tool[0]}:1"

    async def push() -> None:
        await run(*tool, *commit, container, image)
        await run(*tool, "push", *plain, image)

    return await timed(push)


@contextlib.asynccontextmanager
async def _daemon(directory: Path) -> AsyncIterator[Path]:
    """dockerd with a root, a state and a socket of its own and no network."""
    socket = directory / "d.sock"
    process = await asyncio.create_subprocess_exec(
        "dockerd",
        *("--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")),
        *("-H", f"unix://{socket}", "-p", str(directory / "pid")),
        *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_DAEMON_STARTS_S):
            while not await _answers(socket):  # noqa: ASYNC110 (another program's socket)
                await asyncio.sleep(0.2)
        yield socket
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answers(socket: Path) -> bool:
    with contextlib.suppress(RuntimeError):
        await run("docker", "-H", f"unix://{socket}", "version")
        return True
    return False


async def _shell(command: str) -> float:
    return await timed(partial(run, "sh", "-c", command))
