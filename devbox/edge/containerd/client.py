"""Containerd's native API, typed, in one namespace.

Messages come back as containerd sends them (`proto/`). Every method raises the DevboxError of the
call's status: NotFound, Conflict, Unavailable when containerd is down, and so on.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask

from devbox.edge.containerd.channel import Service, open_channel
from devbox.edge.containerd.proto import (
    containers_pb2,
    content_pb2,
    events_pb2,
    images_pb2,
    leases_pb2,
    snapshots_pb2,
    tasks_pb2,
    types_pb2,
    version_pb2,
)

CRI_NAMESPACE = "k8s.io"
"""Where containerd's CRI keeps its containers, images and snapshots."""

PINNED_LABEL = "io.cri-containerd.pinned"
"""With the value `pinned`: image collectors leave the image alone."""

_SLOW_S = 120.0


class Containerd:
    """One connection to containerd."""

    def __init__(
        self, socket: Path, *, namespace: str = CRI_NAMESPACE, snapshotter: str = "overlayfs"
    ) -> None:
        self._channel = open_channel(socket)
        self._snapshotter = snapshotter
        metadata = (("containerd-namespace", namespace),)

        def service(name: str) -> Service:
            return Service(self._channel, f"containerd.services.{name}", metadata)

        self._snapshots = service("snapshots.v1.Snapshots")
        self._containers = service("containers.v1.Containers")
        self._tasks = service("tasks.v1.Tasks")
        self._images = service("images.v1.Images")
        self._content = service("content.v1.Content")
        self._leases = service("leases.v1.Leases")
        self._events = service("events.v1.Events")
        self._version = service("version.v1.Version")

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def version(self) -> version_pb2.VersionResponse:
        """Containerd's version. A cheap way to ask whether it is up."""
        return await self._version.call("Version", Empty(), version_pb2.VersionResponse, 2.0)

    # Snapshots

    async def mounts(self, key: str) -> Sequence[types_pb2.Mount]:
        """How an active snapshot would be mounted."""
        request = snapshots_pb2.MountsRequest(snapshotter=self._snapshotter, key=key)
        answer = await self._snapshots.call("Mounts", request, snapshots_pb2.MountsResponse)
        return answer.mounts

    async def stat_snapshot(self, key: str) -> snapshots_pb2.Info:
        """Kind, parent and labels of a snapshot."""
        request = snapshots_pb2.StatSnapshotRequest(snapshotter=self._snapshotter, key=key)
        answer = await self._snapshots.call("Stat", request, snapshots_pb2.StatSnapshotResponse)
        return answer.info

    async def snapshots(self, *filters: str) -> list[snapshots_pb2.Info]:
        """Snapshots that match any of the filters; all without one."""
        request = snapshots_pb2.ListSnapshotsRequest(
            snapshotter=self._snapshotter, filters=list(filters)
        )
        parts = self._snapshots.stream("List", request, snapshots_pb2.ListSnapshotsResponse, 30.0)
        return [info async for part in parts for info in part.info]

    async def prepare(
        self, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> Sequence[types_pb2.Mount]:
        """Make an active snapshot on `parent` (a chain id, or empty)."""
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter, key=key, parent=parent, labels=dict(labels or {})
        )
        answer = await self._snapshots.call(
            "Prepare", request, snapshots_pb2.PrepareSnapshotResponse
        )
        return answer.mounts

    async def view(
        self, key: str, parent: str, labels: Mapping[str, str] | None = None
    ) -> Sequence[types_pb2.Mount]:
        """Make a read-only snapshot of `parent`."""
        request = snapshots_pb2.ViewSnapshotRequest(
            snapshotter=self._snapshotter, key=key, parent=parent, labels=dict(labels or {})
        )
        answer = await self._snapshots.call("View", request, snapshots_pb2.ViewSnapshotResponse)
        return answer.mounts

    async def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None) -> None:
        """Turn the active snapshot `key` into the committed snapshot `name`."""
        request = snapshots_pb2.CommitSnapshotRequest(
            snapshotter=self._snapshotter, name=name, key=key, labels=dict(labels or {})
        )
        await self._snapshots.call("Commit", request, Empty, _SLOW_S)

    async def remove_snapshot(self, key: str) -> None:
        """Remove a snapshot that nothing stands on."""
        request = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key)
        await self._snapshots.call("Remove", request, Empty, _SLOW_S)

    # Containers and tasks

    async def container(self, container_id: str) -> containers_pb2.Container:
        """One container's record."""
        request = containers_pb2.GetContainerRequest(id=container_id)
        answer = await self._containers.call("Get", request, containers_pb2.GetContainerResponse)
        return answer.container

    async def containers(self, *filters: str) -> Sequence[containers_pb2.Container]:
        """Containers that match any of the filters; all without one."""
        request = containers_pb2.ListContainersRequest(filters=list(filters))
        answer = await self._containers.call("List", request, containers_pb2.ListContainersResponse)
        return answer.containers

    async def create_container(self, container: containers_pb2.Container) -> None:
        """Make a container's record."""
        request = containers_pb2.CreateContainerRequest(container=container)
        await self._containers.call("Create", request, containers_pb2.CreateContainerResponse)

    async def delete_container(self, container_id: str) -> None:
        """Remove a container's record; its snapshot stays."""
        request = containers_pb2.DeleteContainerRequest(id=container_id)
        await self._containers.call("Delete", request, Empty)

    async def task(self, container_id: str) -> tasks_pb2.Process:
        """A container's task. NotFound when none was started, or it was deleted."""
        request = tasks_pb2.GetRequest(container_id=container_id)
        answer = await self._tasks.call("Get", request, tasks_pb2.GetResponse)
        return answer.process

    async def tasks(self) -> Sequence[tasks_pb2.Process]:
        """All tasks."""
        request = tasks_pb2.ListTasksRequest()
        answer = await self._tasks.call("List", request, tasks_pb2.ListTasksResponse)
        return answer.tasks

    async def kill_task(self, container_id: str, signal: int, *, everyone: bool = False) -> None:
        """Send a signal to a task's first process, or to all its processes."""
        request = tasks_pb2.KillRequest(container_id=container_id, signal=signal, all=everyone)
        await self._tasks.call("Kill", request, Empty)

    async def delete_task(self, container_id: str) -> tasks_pb2.DeleteResponse:
        """Remove a task that has ended."""
        request = tasks_pb2.DeleteTaskRequest(container_id=container_id)
        return await self._tasks.call("Delete", request, tasks_pb2.DeleteResponse, _SLOW_S)

    async def pause_task(self, container_id: str) -> None:
        """Freeze a task's cgroup."""
        await self._tasks.call(
            "Pause", tasks_pb2.PauseTaskRequest(container_id=container_id), Empty
        )

    async def resume_task(self, container_id: str) -> None:
        """Thaw a task's cgroup."""
        request = tasks_pb2.ResumeTaskRequest(container_id=container_id)
        await self._tasks.call("Resume", request, Empty)

    # Images, content, leases

    async def image(self, name: str) -> images_pb2.Image:
        """One image record."""
        request = images_pb2.GetImageRequest(name=name)
        answer = await self._images.call("Get", request, images_pb2.GetImageResponse)
        return answer.image

    async def images(self, *filters: str) -> Sequence[images_pb2.Image]:
        """Image records that match any of the filters; all without one."""
        request = images_pb2.ListImagesRequest(filters=list(filters))
        answer = await self._images.call("List", request, images_pb2.ListImagesResponse)
        return answer.images

    async def label_image(self, name: str, label: str, value: str) -> None:
        """Set one label of an image; an empty value removes it."""
        image = images_pb2.Image(name=name, labels={label: value})
        mask = FieldMask(paths=[f"labels.{label}"])
        request = images_pb2.UpdateImageRequest(image=image, update_mask=mask)
        await self._images.call("Update", request, images_pb2.UpdateImageResponse)

    async def delete_image(self, name: str, *, wait: bool = False) -> None:
        """Remove an image record; `wait` until containerd has collected what it alone kept."""
        request = images_pb2.DeleteImageRequest(name=name, sync=wait)
        await self._images.call("Delete", request, Empty, _SLOW_S)

    async def content_info(self, digest: str) -> content_pb2.Info:
        """Size and labels of a blob."""
        request = content_pb2.InfoRequest(digest=digest)
        answer = await self._content.call("Info", request, content_pb2.InfoResponse)
        return answer.info

    async def read_content(self, digest: str, *, limit: int) -> bytes:
        """A small blob such as a manifest or a config. ValueError when it exceeds `limit` bytes."""
        request = content_pb2.ReadContentRequest(digest=digest)
        found = bytearray()
        async for part in self._content.stream(
            "Read", request, content_pb2.ReadContentResponse, 30.0
        ):
            found += part.data
            if len(found) > limit:
                raise ValueError(f"blob {digest} is larger than {limit} bytes")
        return bytes(found)

    async def create_lease(self, lease_id: str, labels: Mapping[str, str] | None = None) -> None:
        """Keep what is added to the lease from being collected."""
        request = leases_pb2.CreateRequest(id=lease_id, labels=dict(labels or {}))
        await self._leases.call("Create", request, leases_pb2.CreateResponse)

    async def add_to_lease(self, lease_id: str, kind: str, resource_id: str) -> None:
        """`kind` is `content` or `snapshots/overlayfs`."""
        resource = leases_pb2.Resource(id=resource_id, type=kind)
        request = leases_pb2.AddResourceRequest(id=lease_id, resource=resource)
        await self._leases.call("AddResource", request, Empty)

    async def leases(self, *filters: str) -> Sequence[leases_pb2.Lease]:
        """Leases that match any of the filters; all without one."""
        request = leases_pb2.ListRequest(filters=list(filters))
        answer = await self._leases.call("List", request, leases_pb2.ListResponse)
        return answer.leases

    async def delete_lease(self, lease_id: str) -> None:
        """End a lease."""
        await self._leases.call("Delete", leases_pb2.DeleteRequest(id=lease_id), Empty)

    # Events

    def events(self, *filters: str) -> AsyncIterator[events_pb2.Envelope]:
        """Events from now on, of all namespaces unless a filter says otherwise."""
        request = events_pb2.SubscribeRequest(filters=list(filters))
        return self._events.stream("Subscribe", request, events_pb2.Envelope)
