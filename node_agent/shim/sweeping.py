"""Clears up what a shim that was killed left half-made."""

import json
from pathlib import Path

import structlog

from devbox.edge.containerd.client import Containerd
from devbox.edge.containerd.proto import containers_pb2
from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout
from devbox.model.errors import DevboxError, NotFound
from node_agent.journal import Journal
from node_agent.upper import overlay_of

_log = structlog.get_logger()


async def sweep(containerd: Containerd, runtime: Cri, journal: Journal, layout: Layout) -> None:
    """Remove containers that were to be boxes, have no upper and were never started."""
    try:
        linked = {box.container_id for box in journal.boxes()}
        for container in await containerd.containers():
            if container.id not in linked and await _half_made(containerd, container, layout):
                await runtime.remove_container(container.id)
                _log.info("half_made_box_removed", container=container.id)
    except DevboxError as error:
        _log.warning("not_swept", error=error.message)


async def _half_made(
    containerd: Containerd, container: containers_pb2.Container, layout: Layout
) -> bool:
    if not _was_to_be_box(container.spec.value, layout.boxes):
        return False
    try:
        await containerd.task(container.id)
    except NotFound:
        pass
    else:
        return False
    try:
        return not overlay_of(await containerd.mounts(container.id)).upperdir.is_symlink()
    except DevboxError:
        return False


def _was_to_be_box(spec: bytes, boxes: Path) -> bool:
    """Does the container mount a box's directory (OCI runtime spec, mounts)?"""
    try:
        mounts = json.loads(spec).get("mounts", [])
    except ValueError:
        return False
    return any(Path(mount.get("source", "")).parent == boxes for mount in mounts)
