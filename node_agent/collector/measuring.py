"""Who uses what of this node's disk, measured when somebody asks.

Owns the counting of changed files and images; `blobs` reads the registry. Reads only.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from devbox.edge.layout import Layout
from devbox.edge.space import FLOOR, HIGH, LOW, space_of
from devbox.model.disk import Disk, ProjectDisk, RuntimeDisk
from devbox.model.errors import Unavailable
from node_agent.collector.blobs import Blobs, read_blobs
from node_agent.journal import Journal, Upper

_NICELY = ("nice", "-n", "10", "du", "--summarize", "--one-file-system", "--block-size=1", "--")


async def bytes_below(path: Path) -> int:
    """Bytes on disk of a tree, hard links counted once; 0 when it is not there.

    A process of its own counts, so that a large tree holds nobody up. What goes away meanwhile is
    left out.
    """
    if not path.is_dir():
        return 0
    process = await asyncio.create_subprocess_exec(
        *_NICELY, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return int(out.split()[0])
    except (ValueError, IndexError) as error:
        raise Unavailable(f"{path} could not be measured", "Try again.") from error


class Measuring:
    """Measures the disk of one node."""

    def __init__(self, layout: Layout, journal: Journal, node: str) -> None:
        self._layout = layout
        self._journal = journal
        self._node = node

    async def disk(self) -> Disk:
        """Everything there is, projects by uid alone."""
        space = space_of(self._layout.data)
        blobs = await asyncio.to_thread(read_blobs, self._layout.registry)
        kept = {upper.project_uid: upper for upper in self._journal.uppers()}
        changed = {uid: await bytes_below(Path(upper.path)) for uid, upper in kept.items()}
        return Disk(
            node=self._node,
            total_bytes=space.total,
            free_bytes=space.free,
            low_bytes=int(LOW * space.total),
            high_bytes=int(HIGH * space.total),
            floor_bytes=int(FLOOR * space.total),
            projects=self._projects(kept, changed, blobs),
            runtimes=tuple(
                RuntimeDisk(name=name, bytes=size) for name, size in sorted(blobs.runtimes.items())
            ),
            shared_bytes=blobs.shared,
            unused_bytes=blobs.unused,
            images_bytes=await bytes_below(self._layout.containerd_root),
        )

    def _projects(
        self, kept: Mapping[str, Upper], changed: Mapping[str, int], blobs: Blobs
    ) -> tuple[ProjectDisk, ...]:
        used = {box.project_uid for box in self._journal.boxes() if box.may_write}
        return tuple(
            ProjectDisk(
                project_uid=uid,
                changed_bytes=changed.get(uid, 0),
                kept=_kept(kept[uid], in_use=uid in used) if uid in kept else "",
                saves_bytes=blobs.saves.get(uid, 0),
                releases_bytes=blobs.releases.get(uid, 0),
            )
            for uid in sorted(kept.keys() | blobs.saves.keys() | blobs.releases.keys())
        )


def _kept(upper: Upper, *, in_use: bool) -> str:
    if in_use:
        return "in use"
    return "dirty" if upper.dirty else "cache"
