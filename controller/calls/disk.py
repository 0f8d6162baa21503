"""Calls about the disk: the node measures, the controller knows whose it is."""

import uuid

from msgspec.structs import replace

from controller.calls.context import Calls
from controller.store import projects
from devbox.model import orchestrator as o
from devbox.model.disk import Disk, ProjectDisk
from devbox.model.errors import Unavailable
from devbox.model.nodes import DiskOrder

_DISK_S = 300.0


class DiskCalls(Calls):
    """Who uses what."""

    async def get_disk(self, request: o.AskDisk) -> Disk:
        """Ask the node, and name the projects that are asked for."""
        order = DiskOrder(order_id=str(uuid.uuid4()))
        told = await self._c.disks.ask(order, self._c.db.wake, _DISK_S)
        if told.disk is None:
            raise Unavailable(f"the disk could not be measured: {told.failure}", "Try again.")
        return replace(told.disk, projects=self._named(told.disk, request.namespaces))

    def _named(self, disk: Disk, namespaces: tuple[str, ...] | None) -> tuple[ProjectDisk, ...]:
        """In order of size. What of a project is left that nobody knows is for whoever sees all."""
        rows = {row.uid: row for row in projects.everyone(self._c.db.reader)}
        found = []
        for one in disk.projects:
            row = rows.get(one.project_uid)
            if row is None and namespaces is None:
                found.append(one)
            elif row is not None and (namespaces is None or row.namespace in namespaces):
                found.append(replace(one, namespace=row.namespace, name=row.name))
        return tuple(sorted(found, key=lambda one: (-one.total_bytes, one.namespace, one.name)))
