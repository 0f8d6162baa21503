"""Refuses to pull what would fill the disk although its files are small: files with large holes.

A layer holds only their data, but the container runtime writes the holes out as zeros. Images of
other registries, and images that cannot be asked about, are passed on.
"""

import asyncio
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.edge.registry import Registry
from devbox.edge.registry.images import sparse_files
from devbox.edge.space import FLOOR, space_of
from devbox.model.errors import DevboxError, NoSpace
from node_agent.shim.relay import Incoming, Unary

_log = structlog.get_logger()
METHOD = "/runtime.v1.ImageService/PullImage"
_ASK_S = 10.0
_GIB = 1 << 30


class Pulling:
    """Intercepts PullImage. `host` is our registry's as references name it; `disk` a path on the
    file system that holds unpacked images."""

    def __init__(self, registry: Registry, host: str, disk: Path, unary: Unary) -> None:
        self._registry = registry
        self._host = host
        self._disk = disk
        self._unary = unary

    async def pull(self, data: bytes, incoming: Incoming) -> bytes:
        """Pull it. Raises NoSpace."""
        host, _, rest = _reference(data).partition("/")
        repository, _, digest = rest.partition("@")
        if host == self._host and digest:
            check(await self._sparse(repository, digest), self._disk)
        return await self._unary(data, incoming, incoming.timeout_s)

    async def _sparse(self, repository: str, digest: str) -> list[tuple[str, int]]:
        try:
            async with asyncio.timeout(_ASK_S):
                _, document = await self._registry.image(repository, digest)
            return sparse_files(document)
        except (DevboxError, TimeoutError, ValueError) as error:
            _log.warning("image_not_asked", repository=repository, error=str(error))
            return []


def _reference(data: bytes) -> str:
    try:
        return cri.PullImageRequest.FromString(data).image.image
    except DecodeError:
        return ""


def check(files: list[tuple[str, int]], disk: Path) -> None:
    """Raises NoSpace when these files, written out in full, would not fit."""
    if not files:
        return
    space = space_of(disk)
    needed = sum(size for _, size in files)
    if needed <= space.free - FLOOR * space.total:
        return
    path, size = max(files, key=lambda file: file[1])
    raise NoSpace(
        f"/{path} has large holes and would take {size / _GIB:.1f} GiB when the image is unpacked, "
        f"and {space}",
        "Nothing is lost: it starts as it is where its files are kept, and there the file can be "
        "made smaller and saved again.",
    )
