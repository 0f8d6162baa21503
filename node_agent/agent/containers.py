"""What containerd runs, as the loop asks for it."""

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from devbox.edge.containerd.client import Containerd
from devbox.edge.containerd.proto import tasks_pb2
from devbox.model.errors import NotFound

_CGROUPS = Path("/sys/fs/cgroup")
_FRESH_S = 120.0
_ENDED = {tasks_pb2.STOPPED, tasks_pb2.UNKNOWN}


class ContainerdView:
    """Reads containers and tasks; removes images of deleted projects."""

    def __init__(self, containerd: Containerd, registry_host: str) -> None:
        self._containerd = containerd
        self._registry_host = registry_host

    async def live(self) -> Mapping[str, bool]:
        """Container id -> its processes run."""
        found = {container.id: False for container in await self._containerd.containers()}
        for task in await self._containerd.tasks():
            found[task.id] = task.status not in _ENDED
        return found

    async def first_process(self, container_id: str) -> int | None:
        """Of a container; None when it does not run."""
        try:
            task = await self._containerd.task(container_id)
        except NotFound:
            return None
        return None if task.status in _ENDED else task.pid

    async def cgroup(self, container_id: str) -> Path | None:
        """The directory that freezes the container; None when it does not run."""
        pid = await self.first_process(container_id)
        if pid is None:
            return None
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return freezer(text)

    async def unused_images(self, kept: Collection[str]) -> Sequence[str]:
        """Digests of our images that no container uses, without `kept`, longest untouched first.

        An image that was touched just now may be about to get a box.
        """
        used = {container.image for container in await self._containerd.containers()}
        images = await self._containerd.images()
        needed = {image.target.digest for image in images if image.name in used}
        ours = tuple(f"{self._registry_host}/{kind}/" for kind in ("runtimes", "projects"))
        fresh = time.time() - _FRESH_S
        touched: dict[str, float] = {}
        for image in images:
            digest = image.target.digest
            if digest not in needed and digest not in kept and image.name.startswith(ours):
                last = image.updated_at.ToNanoseconds() / 1e9
                touched[digest] = max(last, touched.get(digest, 0.0))
        return sorted((d for d, last in touched.items() if last < fresh), key=touched.__getitem__)

    async def remove_image(self, digest: str) -> None:
        """Remove every name of an image. Returns once its disk is given back."""
        for image in await self._containerd.images(f"target.digest=={digest}"):
            with contextlib.suppress(NotFound):
                await self._containerd.delete_image(image.name, wait=True)

    async def forget_images(self, repository: str) -> None:
        """Remove containerd's image records of a repository."""
        prefixes = (f"{self._registry_host}/{repository}@", f"{self._registry_host}/{repository}:")
        for image in await self._containerd.images():
            if image.name.startswith(prefixes):
                await self._containerd.delete_image(image.name)


def freezer(text: str) -> Path | None:
    """The freezer's directory by /proc/PID/cgroup (cgroups(7)); version 1 before version 2."""
    unified: Path | None = None
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if "freezer" in controllers.split(","):
            return _CGROUPS / "freezer" / path.lstrip("/")
        if not controllers:
            root = _CGROUPS / "unified" if (_CGROUPS / "unified").is_dir() else _CGROUPS
            unified = root / path.lstrip("/")
    return unified
