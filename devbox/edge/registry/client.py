"""The registry client: blobs, manifests, tags.

Every call has deadlines, reads are checked against their digest, and what may be asked twice is
asked again when a connection is lost. Raises only `DevboxError`s.
"""

import contextlib
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from devbox.edge.registry.auth import Authorizer
from devbox.edge.registry.documents import (
    ACCEPT,
    Descriptor,
    ImageDocument,
    StoredManifest,
    decode_config,
    digest_of,
)
from devbox.edge.registry.transport import LOST, Ask, Deadlines, Transport, read_error
from devbox.edge.registry.upload import Upload
from devbox.model.errors import BadInput, Internal, Unavailable

_OK = 200
_CREATED = 201
_ACCEPTED = 202
_PARTIAL = 206
_MISSING = 404
_TAGS_A_PAGE = "500"
_READ_BYTES = 1 << 20
_SMALL_BYTES = 16 << 20
_NEXT = re.compile(r'<([^>]+)>;\s*rel="?next"?')


class Registry:
    """One registry. `async with` closes its connections."""

    def __init__(
        self,
        base_url: str,
        *,
        deadlines: Deadlines | None = None,
        authorizer: Authorizer | None = None,
        actions: str = "pull,push,delete",
    ) -> None:
        self._transport = Transport(base_url, deadlines or Deadlines(), authorizer or Authorizer())
        self._actions = actions

    @property
    def base_url(self) -> str:
        """Where it is."""
        return self._transport.base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def ping(self) -> None:
        """Raises Unavailable unless it answers."""
        await self._transport.repeat(Ask("GET", "/v2/"), good=(_OK,))

    # -- blobs --------------------------------------------------------------------------------

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """Bytes of a blob that the repository has; None when it has not."""
        ask = self._ask("HEAD", repository, f"blobs/{digest}")
        status, headers, _ = await self._transport.repeat(ask, good=(_OK, _MISSING))
        return int(headers.get("Content-Length", "0")) if status == _OK else None

    async def read_blob(self, repository: str, digest: str) -> bytes:
        """A small blob. Raises NotFound, BadInput when it is larger than 16 MiB."""
        parts: list[bytes] = []
        size = 0
        async for part in self.stream_blob(repository, digest):
            size += len(part)
            if size > _SMALL_BYTES:
                raise BadInput(f"the blob {digest} is too large to be an image's description")
            parts.append(part)
        return b"".join(parts)

    async def read_range(self, repository: str, digest: str, first: int, last: int) -> bytes:
        """Bytes `first` to `last` inclusive; not checked against the digest."""
        ask = self._ask("GET", repository, f"blobs/{digest}", range=f"bytes={first}-{last}")
        status, _, body = await self._transport.repeat(ask, good=(_OK, _PARTIAL))
        return body[first : last + 1] if status == _OK else body

    async def stream_blob(self, repository: str, digest: str) -> AsyncGenerator[bytes, None]:
        """A blob in pieces; goes on after a lost connection where it was.

        Raises NotFound at the first piece, Internal at the end when the bytes are not the digest's.
        """
        check = hashlib.sha256()
        done = 0
        pauses = iter(self._transport.deadlines.retry_after_s)
        while True:
            try:
                async with contextlib.aclosing(self._pieces(repository, digest, done)) as pieces:
                    async for piece in pieces:
                        check.update(piece)
                        done += len(piece)
                        yield piece
                break
            except (*LOST, Unavailable) as error:
                await self._transport.pause(pauses, error)
        if f"sha256:{check.hexdigest()}" != digest:
            raise Internal(
                f"the registry's blob {digest} is damaged",
                "The image cannot be used. Restore the registry's storage, or use another save.",
            )

    async def _pieces(
        self, repository: str, digest: str, start: int
    ) -> AsyncGenerator[bytes, None]:
        headers = {"range": f"bytes={start}-"} if start else {}
        ask = replace(
            self._ask("GET", repository, f"blobs/{digest}", **headers),
            timeout=self._transport.deadlines.blob(),
        )
        async with self._transport.once(ask) as response:
            if response.status not in {_OK, _PARTIAL}:
                raise await read_error(response, ask)
            skip = start if response.status == _OK else 0
            async for piece in response.content.iter_chunked(_READ_BYTES):
                if skip < len(piece):
                    yield piece[skip:]
                skip = max(0, skip - len(piece))

    async def put_blob(self, repository: str, data: bytes, media_type: str) -> Descriptor:
        """Push a small blob, unless it is there. Raises NoSpace, Unavailable."""
        digest = digest_of(data)
        if await self.blob_size(repository, digest) is None:
            async with self.upload(repository) as upload:
                await upload.write(data)
                await upload.finish(digest, media_type)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    @contextlib.asynccontextmanager
    async def upload(self, repository: str) -> AsyncIterator[Upload]:
        """Stream a blob: `write` it, then `finish`. Left by an error, it is abandoned."""
        upload = Upload(self._transport, repository, self._scope(repository))
        await upload.begin()
        try:
            yield upload
        except BaseException:
            await upload.abandon()
            raise

    async def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Have a blob of another repository here without moving it. False when that fails."""
        ask = Ask(
            "POST",
            f"/v2/{repository}/blobs/uploads/",
            self._scope(repository),
            query={"mount": digest, "from": source},
        )
        status, headers, _ = await self._transport.repeat(ask, good=(_CREATED, _ACCEPTED))
        if status == _ACCEPTED and (location := headers.get("Location", "")):
            unused = Ask("DELETE", location, self._scope(repository))
            with contextlib.suppress(*LOST):
                async with self._transport.once(unused):
                    pass
        return status == _CREATED

    async def delete_blob(self, repository: str, digest: str) -> bool:
        """Take a blob out of a repository. False when it was not there."""
        return await self._delete(repository, f"blobs/{digest}")

    # -- manifests ----------------------------------------------------------------------------

    async def get_manifest(self, repository: str, reference: str) -> StoredManifest:
        """By tag or digest, checked. Raises NotFound."""
        ask = self._ask("GET", repository, f"manifests/{reference}", accept=ACCEPT)
        _, headers, raw = await self._transport.repeat(ask, good=(_OK,))
        digest = digest_of(raw)
        if reference.startswith("sha256:") and reference != digest:
            raise Internal(f"the registry's manifest {reference} is damaged")
        kind = headers.get("Content-Type", "").split(";")[0]
        return StoredManifest(raw=raw, media_type=kind, digest=digest)

    async def manifest_digest(self, repository: str, reference: str) -> str | None:
        """The digest that a tag names, or the digest itself; None when it is not there."""
        ask = self._ask("HEAD", repository, f"manifests/{reference}", accept=ACCEPT)
        status, headers, _ = await self._transport.repeat(ask, good=(_OK, _MISSING))
        if status == _MISSING:
            return None
        told = headers.get("Docker-Content-Digest")
        return told or (await self.get_manifest(repository, reference)).digest

    async def put_manifest(
        self, repository: str, raw: bytes, media_type: str, tag: str = ""
    ) -> Descriptor:
        """Push a manifest whose blobs are there, under its digest and, if told, a tag."""
        digest = digest_of(raw)
        ask = replace(
            self._ask("PUT", repository, f"manifests/{tag or digest}", content_type=media_type),
            body=lambda: raw,
        )
        _, headers, _ = await self._transport.repeat(ask, good=(_CREATED, _ACCEPTED))
        if headers.get("Docker-Content-Digest", digest) != digest:
            raise Internal(f"the registry stored the manifest {digest} as something else")
        return Descriptor(media_type=media_type, digest=digest, size=len(raw))

    async def delete_manifest(self, repository: str, digest: str) -> bool:
        """Remove an image. False when it was not there."""
        return await self._delete(repository, f"manifests/{digest}")

    async def tags(self, repository: str) -> tuple[str, ...]:
        """All tags, in order; none of a repository that does not exist."""
        found: list[str] = []
        path = f"/v2/{repository}/tags/list"
        query = {"n": _TAGS_A_PAGE}
        while path:
            ask = Ask("GET", path, self._scope(repository), query=query)
            status, headers, body = await self._transport.repeat(ask, good=(_OK, _MISSING))
            if status == _MISSING:
                break
            found.extend(decode_config(body, path).get("tags") or ())
            following = _NEXT.search(headers.get("Link", ""))
            path, query = (following.group(1) if following else ""), {}
        return tuple(sorted(set(found)))

    async def image(self, repository: str, reference: str) -> tuple[StoredManifest, ImageDocument]:
        """Manifest and config of an image for one platform. Raises NotFound, BadInput."""
        stored = await self.get_manifest(repository, reference)
        if stored.is_index:
            raise BadInput(f"{repository}@{reference} is an index of images, not an image")
        manifest = stored.manifest()
        raw = await self.read_blob(repository, manifest.config.digest)
        config = decode_config(raw, manifest.config.digest)
        return stored, ImageDocument(manifest=manifest, config=config)

    # -- inside -------------------------------------------------------------------------------

    def _scope(self, repository: str) -> str:
        return f"repository:{repository}:{self._actions}"

    def _ask(self, method: str, repository: str, what: str, **headers: str) -> Ask:
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return Ask(method, f"/v2/{repository}/{what}", self._scope(repository), headers=named)

    async def _delete(self, repository: str, what: str) -> bool:
        ask = self._ask("DELETE", repository, what)
        status, _, _ = await self._transport.repeat(ask, good=(_OK, _ACCEPTED, _MISSING))
        return status != _MISSING
