"""The saver as the node agent's loop asks for it: journal rows in, images in the registry out."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from devbox.edge.durable import replace_file, sync_file_system
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from devbox.edge.registry.images import runtime_layers
from devbox.model.errors import Internal, NotFound
from devbox.model.nodes import DiffOrder
from devbox.model.projects import Image
from devbox.model.saves import SaveDiff, SaveStep
from node_agent.agent.parts import CannotRelease, Progress, SavedImage, SaveWork, SaveWriter
from node_agent.journal import Upper
from node_agent.saver import index as indexes
from node_agent.saver.comparing import ask_worker
from node_agent.saver.orders import UpperSave
from node_agent.saver.saver import Saver
from node_agent.saver.wishes import Wishes, read_wishes

_PROJECTS = "projects/"
_LIES_BELOW = (
    "the project's files come from a save that may hold what devbox.yaml leaves out of releases, "
    "and a release of them could not be without it"
)


class RegistryWriter(SaveWriter):
    """Writes uppers into the cluster's registry."""

    def __init__(
        self, registry: Registry, saver: Saver, layout: Layout, settings: ServerSettings
    ) -> None:
        self._registry = registry
        self._storage = layout.registry
        self._saver = saver
        self._indexes = layout.indexes
        self._freeze_limit_ms = settings.freeze_limit_ms
        self._compression = settings.compression

    async def save(
        self, work: SaveWork, on_step: Callable[[SaveStep], None], progress: Progress
    ) -> SavedImage:
        """Write and push. Tells WRITTEN once all blobs are in the registry, before the manifest."""

        async def step(done: SaveStep) -> None:
            on_step(done)

        async def told(done: int, expected: int) -> None:
            progress(done, expected)

        wishes = await asyncio.to_thread(self._wishes, work.upper)
        releases = _releases(work.tags)
        if releases:
            await self._check_release(work.upper.image, wishes)
        saved = await self._saver.save(self._order(work, wishes), told, step)
        return SavedImage(
            partial=releases and bool(wishes.releases),
            image=saved.image,
            changed=saved.changed,
            layers=saved.layers,
            new_bytes=saved.new_bytes,
            total_bytes=saved.total_bytes,
            upper_bytes=saved.upper_bytes,
            frozen_ms=saved.frozen_ms,
            note=" ".join(said for said in (saved.note, wishes.mistake) if said),
        )

    def _wishes(self, upper: Upper) -> Wishes:
        """Of the project's file; as it was last seen, while it lies below the upper."""
        kept = self._indexes / f"{upper.project_uid}.wishes"
        found = read_wishes(Path(upper.path))
        if found is None:
            return _kept(kept)
        replace_file(kept, [msgspec.json.encode(found)], aside=kept.with_suffix(".wishes-new"))
        return found

    async def _check_release(self, base: Image, wishes: Wishes) -> None:
        if wishes.mistake:
            raise CannotRelease(
                f"{wishes.mistake} A release could hold what you want left out, so none was made"
            )
        if not wishes.releases or base.digest == await self._runtime(base.repository):
            return
        _, document = await self._registry.image(base.repository, base.digest)
        if runtime_layers(document) < len(document.manifest.layers):
            raise CannotRelease(_LIES_BELOW)

    async def _runtime(self, repository: str) -> str | None:
        """What the project was made from: nothing of its own files is in that."""
        return await self._registry.manifest_digest(repository, "base")

    def _order(self, work: SaveWork, wishes: Wishes) -> UpperSave:
        uid = work.upper.project_uid
        less = wishes.releases if _releases(work.tags) else ()
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
            compression=self._compression,
            expected_bytes=work.upper.bytes,
            exclude=(*wishes.saves, *less),
            known=work.known,
            only_changes=work.only_changes,
            full=bool(less),
        )

    async def tag(self, image: Image, tags: tuple[str, ...]) -> None:
        """Give an image in the registry further tags."""
        if _releases(tags):
            uid = image.repository.removeprefix(_PROJECTS)
            wishes = await asyncio.to_thread(_kept, self._indexes / f"{uid}.wishes")
            if wishes.releases or wishes.mistake:
                raise CannotRelease(_LIES_BELOW)
        stored = await self._registry.get_manifest(image.repository, image.digest)
        for tag in tags:
            await self._registry.put_manifest(image.repository, stored.raw, stored.media_type, tag)

    async def confirm(self, image: Image) -> None:
        """The registry has all of an image, by digest and size, and it is on its disk.

        Raises NotFound or Internal when something is missing or damaged.
        """
        if self._storage.is_dir():
            # The registry syncs its files, not their names.
            await asyncio.to_thread(sync_file_system, self._storage)
        _, document = await self._registry.image(image.repository, image.digest)
        for layer in document.manifest.layers:
            size = await self._registry.blob_size(image.repository, layer.digest)
            if size is None:
                raise NotFound(f"the registry has lost the layer {layer.digest}")
            if size != layer.size:
                raise Internal(f"the registry's layer {layer.digest} is damaged")

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
        (self._indexes / f"{project_uid}.wishes").unlink(missing_ok=True)

    def _index(self, project_uid: str) -> Path:
        return self._indexes / f"{project_uid}.index"


def repository(project_uid: str) -> str:
    """Where a project's images are."""
    return f"{_PROJECTS}{project_uid}"


def _releases(tags: tuple[str, ...]) -> bool:
    return any(tag.startswith("release-") for tag in tags)


def _kept(path: Path) -> Wishes:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Wishes)
    except FileNotFoundError:
        return Wishes()
    except msgspec.MsgspecError:
        return Wishes(mistake="What /project/devbox.yaml leaves out is not known.")
