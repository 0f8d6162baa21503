"""The saver as the node agent's loop asks for it: journal rows in, images in the registry out."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from devbox.edge.registry import Registry
from devbox.model.errors import NotFound
from devbox.model.nodes import DiffOrder
from devbox.model.projects import Image
from devbox.model.saves import SaveDiff, SaveStep
from node_agent.agent.parts import Progress, SavedImage, SaveWork, SaveWriter
from node_agent.saver import index as indexes
from node_agent.saver.comparing import ask_worker
from node_agent.saver.orders import UpperSave
from node_agent.saver.saver import Saver


class RegistryWriter(SaveWriter):
    """Writes uppers into the cluster's registry."""

    def __init__(
        self, registry: Registry, saver: Saver, directory: Path, freeze_limit_ms: int
    ) -> None:
        self._registry = registry
        self._saver = saver
        self._indexes = directory
        self._freeze_limit_ms = freeze_limit_ms

    async def save(
        self, work: SaveWork, on_step: Callable[[SaveStep], None], progress: Progress
    ) -> SavedImage:
        """Write and push. Tells WRITTEN once all blobs are in the registry, before the manifest."""

        async def step(done: SaveStep) -> None:
            on_step(done)

        async def told(done: int, expected: int) -> None:
            progress(done, expected)

        saved = await self._saver.save(self._order(work), told, step)
        return SavedImage(
            image=saved.image,
            changed=saved.changed,
            layers=saved.layers,
            new_bytes=saved.new_bytes,
            total_bytes=saved.total_bytes,
            upper_bytes=saved.upper_bytes,
            frozen_ms=saved.frozen_ms,
            note=saved.note,
        )

    def _order(self, work: SaveWork) -> UpperSave:
        uid = work.upper.project_uid
        return UpperSave(
            project_uid=uid,
            seq=work.seq,
            upper=work.upper.path,
            base=work.upper.image,
            index=str(self._index(uid)),
            repository=repository(uid),
            tags=(f"save-{work.seq}", *work.tags),
            cgroup=str(work.cgroup or ""),
            freeze_limit_ms=self._freeze_limit_ms,
            when_busy=work.when_busy,
            expected_bytes=work.upper.bytes,
        )

    async def tag(self, image: Image, tags: tuple[str, ...]) -> None:
        """Give an image in the registry further tags."""
        stored = await self._registry.get_manifest(image.repository, image.digest)
        for tag in tags:
            await self._registry.put_manifest(image.repository, stored.raw, stored.media_type, tag)

    async def copy(self, image: Image, repository: str, tag: str) -> Image:
        """Have the image in another repository too."""
        return await self._saver.copy_image(image, repository, tag)

    async def forget(self, project_uid: str, digest: str) -> None:
        """Remove one of a project's images. No save of the project may run meanwhile."""
        await self._saver.drop_images(repository(project_uid), (digest,), ())

    async def compare(self, order: DiffOrder) -> SaveDiff:
        """What changed between two saves; a process of its own reads their layers."""
        return await ask_worker(self._registry.base_url, order)

    async def drop(self, project_uid: str) -> None:
        """Remove all that a project has in the registry, and its index."""
        with contextlib.suppress(NotFound):
            await self._saver.drop_repository(repository(project_uid))
        await asyncio.to_thread(indexes.forget, self._index(project_uid))

    def _index(self, project_uid: str) -> Path:
        return self._indexes / f"{project_uid}.index"


def repository(project_uid: str) -> str:
    """Where a project's images are."""
    return f"projects/{project_uid}"
