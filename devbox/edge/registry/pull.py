"""Copies an image from any registry, or another repository, into ours, blob by blob.

Picks the platform out of an index. Blobs that are here already, in this repository or the one
told, are not moved.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from devbox.edge.registry.auth import Authorizer, Credentials
from devbox.edge.registry.client import Registry
from devbox.edge.registry.documents import Descriptor, ImageDocument, Platform, StoredManifest
from devbox.edge.registry.references import Reference
from devbox.edge.registry.transport import Deadlines
from devbox.model.errors import BadInput, NotFound

Progress = Callable[[int, int], Awaitable[None]]
"""Bytes done, bytes in all."""


async def silent(done: int, total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Copied:
    """An image that is in the target repository now."""

    stored: StoredManifest
    document: ImageDocument


@dataclass(frozen=True)
class Puller:
    """Copies into `target`."""

    target: Registry
    deadlines: Deadlines = field(default_factory=Deadlines)
    credentials: Credentials | None = None

    async def pull(
        self,
        reference: Reference,
        repository: str,
        architecture: str,
        *,
        tag: str = "",
        progress: Progress = silent,
    ) -> Copied:
        """Copy the image for `architecture` (as OCI names it, such as `amd64`).

        Raises NotFound, BadInput for another architecture, Unauthorized, Unavailable, NoSpace.
        """
        source = Registry(
            reference.base_url,
            deadlines=self.deadlines,
            authorizer=Authorizer(self.credentials),
            actions="pull",
        )
        async with source:
            try:
                stored = await select(source, reference, architecture)
            except NotFound as error:
                raise NotFound(f"there is no image {reference}", error.hint) from error
            place = Place(source, reference.repository)
            return await copy(place, stored, Place(self.target, repository), tag, progress)


@dataclass(frozen=True)
class Place:
    """A repository of a registry."""

    registry: Registry
    repository: str


async def select(source: Registry, reference: Reference, architecture: str) -> StoredManifest:
    """The manifest of one platform. Raises BadInput when the image has none for it."""
    stored = await source.get_manifest(reference.repository, reference.name)
    if stored.is_index:
        found = choose(stored.index().manifests, architecture)
        if found is None:
            raise _mismatch(reference, architecture)
        return await source.get_manifest(reference.repository, found.digest)
    _, document = await source.image(reference.repository, stored.digest)
    if document.config.get("architecture") != architecture:
        raise _mismatch(reference, architecture)
    return stored


def choose(manifests: tuple[Descriptor, ...], architecture: str) -> Descriptor | None:
    """The Linux image for an architecture; the one without a variant comes first."""
    fitting = [
        entry
        for entry in manifests
        if entry.platform is not None and _fits(entry.platform, architecture)
    ]
    fitting.sort(key=lambda entry: entry.platform.variant if entry.platform else "")
    return fitting[0] if fitting else None


def _fits(platform: Platform, architecture: str) -> bool:
    return platform.os == "linux" and platform.architecture == architecture


def _mismatch(reference: Reference, architecture: str) -> BadInput:
    return BadInput(
        f"{reference} has no image for this machine's architecture ({architecture})",
        "Choose an image, or a tag of it, that is made for it.",
    )


async def copy(
    source: Place, stored: StoredManifest, target: Place, tag: str, progress: Progress = silent
) -> Copied:
    """Copy an image's blobs and then its manifest. Doing it again moves nothing."""
    manifest = stored.manifest()
    blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
    total = sum(blob.size for blob in blobs.values())
    done = 0
    for blob in blobs.values():
        async for moved in _move(source, blob, target):
            done += moved
            await progress(done, total)
    await target.registry.put_manifest(target.repository, stored.raw, stored.media_type, tag)
    _, document = await target.registry.image(target.repository, stored.digest)
    return Copied(stored, document)


async def copy_blob(source: Place, blob: Descriptor, target: Place) -> None:
    """Have one blob in the target repository."""
    async for _ in _move(source, blob, target):
        pass


async def _move(source: Place, blob: Descriptor, target: Place) -> AsyncIterator[int]:
    """Yields the bytes that are there, as they come."""
    if await target.registry.blob_size(target.repository, blob.digest) is not None:
        yield blob.size
        return
    if source.registry is target.registry and await target.registry.mount_blob(
        target.repository, blob.digest, source.repository
    ):
        yield blob.size
        return
    async with target.registry.upload(target.repository) as upload:
        async with contextlib.aclosing(
            source.registry.stream_blob(source.repository, blob.digest)
        ) as pieces:
            async for piece in pieces:
                await upload.write(piece)
                yield len(piece)
        await upload.finish(blob.digest, blob.media_type)
