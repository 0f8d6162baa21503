"""The node agent's side of saves: worker processes, one waiting ready, and the registry's upkeep.

Knows neither tar nor zstd. A save that is cancelled, or whose worker is killed, leaves only blobs
that nothing refers to.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import msgspec

from devbox.edge.registry import Registry
from devbox.edge.registry.images import model_image
from devbox.edge.registry.pull import Place, copy
from devbox.edge.rpc import Failure, error_of
from devbox.model.errors import Internal, Unavailable
from devbox.model.projects import Image
from devbox.model.saves import SaveStep
from node_agent.saver.freezing import thaw
from node_agent.saver.orders import (
    Begin,
    Done,
    Failed,
    FromWorker,
    Go,
    Progress,
    SavedImage,
    Stepped,
    ToWorker,
    UpperSave,
)

OnProgress = Callable[[int, int], Awaitable[None]]
OnStep = Callable[[SaveStep], Awaitable[None]]
_LINE_BYTES = 4 << 20
_SILENCE_S = 900.0
_AT_ONCE = 2
WORKER_NICE = 10
"""A save never takes the processor from people's work."""


async def _no_progress(done: int, expected: int) -> None:
    """Tells nobody."""


async def _no_step(step: SaveStep) -> None:
    """Records nothing."""


class Saver:
    """Saves uppers into one registry. `async with` ends its workers."""

    def __init__(
        self,
        registry: Registry,
        *,
        at_once: int = _AT_ONCE,
        nice: int = WORKER_NICE,
        die_at: str = "",
    ) -> None:
        self._registry = registry
        self._given = (str(nice), die_at)
        self._slots = asyncio.Semaphore(at_once)
        self._idle: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        await self.warm()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def warm(self) -> None:
        """Have one worker waiting: starting it takes longer than a small save."""
        if not self._idle:
            self._idle.append(await _start(self._given))

    async def close(self) -> None:
        """End idle workers. Saves in progress end theirs when they are cancelled."""
        idle, self._idle = self._idle, []
        for process in idle:
            await _end(process)

    async def save(
        self,
        order: UpperSave,
        progress: OnProgress = _no_progress,
        on_step: OnStep = _no_step,
    ) -> SavedImage:
        """Save an upper. `on_step` is awaited for WRITTEN before the manifest is put, and for
        PUSHED after. Raises DevboxError; cancelled, it stops the work at once."""
        async with self._slots:
            process = self._idle.pop() if self._idle else await _start(self._given)
            try:
                saved = await self._talk(process, order, progress, on_step)
            except BaseException:
                await _end(process)
                # The worker's guard thaws too, unless whatever ended the one ended both.
                if order.cgroup:
                    await asyncio.to_thread(thaw, order.cgroup)
                raise
            self._idle.append(process)
            return saved

    async def _talk(
        self,
        process: asyncio.subprocess.Process,
        order: UpperSave,
        progress: OnProgress,
        on_step: OnStep,
    ) -> SavedImage:
        await _say(process, Begin(order=order, registry_url=self._registry.base_url))
        while True:
            match await _hear(process):
                case Progress(done=done, expected=expected):
                    await progress(done, expected)
                case Stepped(step=step):
                    await on_step(step)
                    await _say(process, Go())
                case Done(saved=saved):
                    return saved
                case Failed(code=code, message=message, hint=hint):
                    raise error_of(Failure(code, message, hint))

    # -- the registry's upkeep ----------------------------------------------------------------

    async def copy_image(self, source: Image, repository: str, tag: str = "") -> Image:
        """Have an image in another repository, without moving bytes where that can be avoided."""
        here = Place(self._registry, source.repository)
        stored = await self._registry.get_manifest(source.repository, source.digest)
        copied = await copy(here, stored, Place(self._registry, repository), tag)
        return model_image(repository, copied.stored.digest, copied.document)

    async def drop_images(
        self, repository: str, digests: tuple[str, ...], keep: tuple[str, ...]
    ) -> None:
        """Remove images, and those of their blobs that no tagged image and none of `keep` uses.

        No save of the repository may run meanwhile: its blobs have no manifest yet.
        """
        kept = (await self._tagged(repository) | set(keep)) - set(digests)
        used = await self._blobs_of(repository, kept)
        unused = await self._blobs_of(repository, set(digests)) - used
        for digest in digests:
            await self._registry.delete_manifest(repository, digest)
        for blob in sorted(unused):
            await self._registry.delete_blob(repository, blob)

    async def drop_repository(self, repository: str, digests: tuple[str, ...] = ()) -> None:
        """Remove all images of a repository and their blobs from it.

        `digests` names images that no tag names.
        """
        found = await self._tagged(repository) | set(digests)
        await self.drop_images(repository, tuple(sorted(found)), ())

    async def _tagged(self, repository: str) -> set[str]:
        tags = await self._registry.tags(repository)
        found = [await self._registry.manifest_digest(repository, tag) for tag in tags]
        return {digest for digest in found if digest is not None}

    async def _blobs_of(self, repository: str, digests: set[str]) -> set[str]:
        found: set[str] = set()
        for digest in sorted(digests):
            found |= await self._blobs(repository, digest)
        return found

    async def _blobs(self, repository: str, digest: str) -> set[str]:
        if await self._registry.manifest_digest(repository, digest) is None:
            return set()
        manifest = (await self._registry.get_manifest(repository, digest)).manifest()
        return {manifest.config.digest, *(layer.digest for layer in manifest.layers)}


async def _start(given: tuple[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "node_agent.saver.worker",
        *given,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def _say(process: asyncio.subprocess.Process, message: ToWorker) -> None:
    if process.stdin is None:
        raise Internal("the saver's worker has no input")
    try:
        process.stdin.write(msgspec.json.encode(message) + b"\n")
        await process.stdin.drain()
    except (OSError, RuntimeError) as error:  # uvloop says so of a pipe that is closed
        raise _lost() from error


async def _hear(process: asyncio.subprocess.Process) -> FromWorker:
    if process.stdout is None:
        raise Internal("the saver's worker has no output")
    try:
        async with asyncio.timeout(_SILENCE_S):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise _lost() from error
    if not line:
        raise _lost()
    return msgspec.json.decode(line, type=FromWorker)


def _lost() -> Unavailable:
    return Unavailable("the saver ended in the middle of a save", "It is tried again.")
