"""Streaming upload of a blob whose digest is known only at its end (distribution spec, push).

Bytes are sent in parts; a part is kept in memory until the registry confirmed it, so a lost
connection costs one part again, not the blob. Until `finish` nothing refers to the bytes.
"""

from collections.abc import AsyncIterator
from urllib.parse import urljoin

from devbox.edge.http1 import number
from devbox.edge.registry.documents import Descriptor
from devbox.edge.registry.transport import LOST, SAFE_HINT, Ask, Transport, error_of
from devbox.model.errors import DevboxError, Unavailable

PART_BYTES = 16 << 20
_PIECE_BYTES = 256 << 10
_ACCEPTED = 202
_CREATED = 201
_NO_CONTENT = 204
_BAD_REQUEST = 400
Buffer = bytes | bytearray | memoryview


class Upload:
    """One upload in progress. `write` and `finish`, or `abandon`."""

    def __init__(self, transport: Transport, repository: str, scope: str) -> None:
        self._transport = transport
        self._repository = repository
        self._scope = scope
        self._location = ""
        self._sent = 0
        self._parts: list[Buffer] = []
        self._waiting = 0

    async def begin(self) -> None:
        """Ask the registry for a place. Raises Unavailable, NoSpace."""
        ask = Ask("POST", f"/v2/{self._repository}/blobs/uploads/", self._scope)
        _, headers, _ = await self._transport.repeat(ask, good=(_ACCEPTED,))
        self._move(headers.get("Location", ""))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._sent + self._waiting

    async def write(self, data: Buffer) -> None:
        """Take bytes, which must not change until the next call of `write` or `finish` returned
        that sent them. Raises Unavailable when the upload is lost."""
        self._parts.append(data)
        self._waiting += len(data)
        if self._waiting >= PART_BYTES:
            await self._flush()

    async def finish(self, digest: str, media_type: str) -> Descriptor:
        """Name the blob; one that fits a part is sent with it.

        Raises NoSpace, or Unavailable, also when the registry finds another digest.
        """
        if self._sent:
            await self._flush()
        ask = Ask(
            "PUT",
            self._location,
            self._scope,
            headers=self._headers(),
            query={"digest": digest},
            body=self._pieces if self._waiting else None,
            timeout=self._transport.deadlines.finish(),
        )
        try:
            async with self._transport.once(ask) as response:
                if response.status != _CREATED:
                    raise _refused(response.status, await response.read(), ask)
        except LOST as error:
            if not await self._exists(digest):
                raise self._transport.unavailable(error) from error
        return Descriptor(media_type=media_type, digest=digest, size=self.size)

    async def _exists(self, digest: str) -> bool:
        ask = Ask("HEAD", f"/v2/{self._repository}/blobs/{digest}", self._scope)
        status, _, _ = await self._transport.repeat(ask, good=(200, 404))
        return status == 200

    async def abandon(self) -> None:
        """Tell the registry to forget the bytes; a registry that does not answer is ignored."""
        ask = Ask("DELETE", self._location, self._scope)
        try:
            async with self._transport.once(ask):
                pass
        except (*LOST, DevboxError):
            return

    async def _flush(self) -> None:
        if not self._waiting:
            return
        pauses = iter(self._transport.deadlines.retry_after_s)
        target = self._sent + self._waiting
        while self._sent != target:
            try:
                await self._patch(target)
            except (*LOST, Unavailable) as error:
                await self._transport.pause(pauses, error)
                await self._find_out(target)
        self._parts = []
        self._waiting = 0

    async def _patch(self, target: int) -> None:
        headers = {**self._headers(), "Content-Range": f"{self._sent}-{target - 1}"}
        ask = Ask(
            "PATCH",
            self._location,
            self._scope,
            headers=headers,
            body=self._pieces,
            timeout=self._transport.deadlines.blob(),
        )
        async with self._transport.once(ask) as response:
            if response.status != _ACCEPTED:
                raise error_of(response.status, await response.read(), ask)
            self._move(response.headers.get("Location", ""))
            self._sent = target

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self._waiting),
        }

    async def _pieces(self) -> AsyncIterator[Buffer]:
        for part in self._parts:
            view = memoryview(part)
            for start in range(0, len(view), _PIECE_BYTES):
                yield view[start : start + _PIECE_BYTES]

    async def _find_out(self, target: int) -> None:
        """After a lost answer: how much has the registry taken?"""
        ask = Ask("GET", self._location, self._scope)
        status, headers, _ = await self._transport.repeat(ask, good=(_NO_CONTENT, 404, 400, 416))
        taken = _end_of(headers.get("Range", "")) if status == _NO_CONTENT else -1
        if taken not in {self._sent, target}:
            raise Unavailable("the registry lost an upload that was in progress", SAFE_HINT)
        self._move(headers.get("Location", self._location))
        self._sent = taken

    def _move(self, location: str) -> None:
        if not location:
            raise Unavailable("the registry answered an upload without a place", SAFE_HINT)
        self._location = urljoin(self._transport.base_url + "/", location)


def _refused(status: int, body: bytes, ask: Ask) -> DevboxError:
    if status == _BAD_REQUEST and b"DIGEST_INVALID" in body:
        return Unavailable("the registry got other bytes than were sent", SAFE_HINT)
    return error_of(status, body, ask)


def _end_of(text: str) -> int:
    """Bytes taken, of a `Range: 0-99` header. An empty upload is told as `0-0`."""
    last = number(text.rpartition("-")[2])
    if last is None:
        return -1
    return last + 1 if last else 0
