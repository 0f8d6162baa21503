"""CRI v1, typed: what a kubelet asks of a container runtime.

Messages are CRI's own (`proto/runtime.proto`). Every method raises the DevboxError of the call's
status. Deadlines are kubelet's.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from devbox.edge.containerd.channel import Service, open_channel
from devbox.edge.cri.proto import runtime_pb2 as cri

_SANDBOX_S = 240.0
_REMOVE_S = 120.0
_PULL_S = 1800.0
_GRACE_S = 120.0


class Cri:
    """One connection to a runtime: RuntimeService and ImageService."""

    def __init__(self, socket: Path) -> None:
        self._channel = open_channel(socket)
        self._runtime = Service(self._channel, "runtime.v1.RuntimeService")
        self._image_service = Service(self._channel, "runtime.v1.ImageService")

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)

    async def version(self) -> cri.VersionResponse:
        """Name and versions of the runtime."""
        request = cri.VersionRequest(version="v1")
        return await self._runtime.call("Version", request, cri.VersionResponse, 2.0)

    async def status(self) -> cri.RuntimeStatus:
        """Is the runtime ready? Is its network?"""
        answer = await self._runtime.call("Status", cri.StatusRequest(), cri.StatusResponse)
        return answer.status

    # Sandboxes

    async def run_sandbox(self, config: cri.PodSandboxConfig) -> str:
        """Make and start a sandbox, network included. Returns its id."""
        request = cri.RunPodSandboxRequest(config=config)
        answer = await self._runtime.call(
            "RunPodSandbox", request, cri.RunPodSandboxResponse, _SANDBOX_S
        )
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what runs in it and give its network back. Twice is no harm."""
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._runtime.call("StopPodSandbox", request, cri.StopPodSandboxResponse, _REMOVE_S)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it and the containers in it. Twice is no harm."""
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._runtime.call(
            "RemovePodSandbox", request, cri.RemovePodSandboxResponse, _REMOVE_S
        )

    async def sandbox_status(
        self, sandbox_id: str, *, verbose: bool = False
    ) -> cri.PodSandboxStatusResponse:
        """State and addresses."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=verbose)
        return await self._runtime.call("PodSandboxStatus", request, cri.PodSandboxStatusResponse)

    async def sandboxes(self, labels: Mapping[str, str] | None = None) -> Sequence[cri.PodSandbox]:
        """Sandboxes that carry all the labels."""
        request = cri.ListPodSandboxRequest(
            filter=cri.PodSandboxFilter(label_selector=dict(labels or {}))
        )
        answer = await self._runtime.call("ListPodSandbox", request, cri.ListPodSandboxResponse)
        return answer.items

    # Containers

    async def create_container(
        self, sandbox_id: str, config: cri.ContainerConfig, sandbox: cri.PodSandboxConfig
    ) -> str:
        """Make a container in a sandbox. Returns its id."""
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox
        )
        answer = await self._runtime.call(
            "CreateContainer", request, cri.CreateContainerResponse, _REMOVE_S
        )
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        """Start a container that was made."""
        request = cri.StartContainerRequest(container_id=container_id)
        await self._runtime.call("StartContainer", request, cri.StartContainerResponse, _REMOVE_S)

    async def stop_container(self, container_id: str, grace_s: int = 10) -> None:
        """SIGTERM, and after `grace_s` seconds SIGKILL. Twice is no harm."""
        request = cri.StopContainerRequest(container_id=container_id, timeout=grace_s)
        await self._runtime.call(
            "StopContainer", request, cri.StopContainerResponse, grace_s + _GRACE_S
        )

    async def remove_container(self, container_id: str) -> None:
        """Remove it, killed if need be. Twice is no harm."""
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._runtime.call("RemoveContainer", request, cri.RemoveContainerResponse, _REMOVE_S)

    async def containers(
        self, *, sandbox_id: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[cri.Container]:
        """Containers of a sandbox, or all, that carry all the labels."""
        request = cri.ListContainersRequest(
            filter=cri.ContainerFilter(pod_sandbox_id=sandbox_id, label_selector=dict(labels or {}))
        )
        answer = await self._runtime.call("ListContainers", request, cri.ListContainersResponse)
        return answer.containers

    async def container_status(
        self, container_id: str, *, verbose: bool = False
    ) -> cri.ContainerStatusResponse:
        """State, exit code and times."""
        request = cri.ContainerStatusRequest(container_id=container_id, verbose=verbose)
        return await self._runtime.call("ContainerStatus", request, cri.ContainerStatusResponse)

    async def reopen_log(self, container_id: str) -> None:
        """Write on into a new log file, after the old one was renamed."""
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._runtime.call("ReopenContainerLog", request, cri.ReopenContainerLogResponse)

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_s: int = 60
    ) -> cri.ExecSyncResponse:
        """Run a command in a container and wait for it."""
        request = cri.ExecSyncRequest(
            container_id=container_id, cmd=list(command), timeout=timeout_s
        )
        return await self._runtime.call(
            "ExecSync", request, cri.ExecSyncResponse, timeout_s + _GRACE_S
        )

    async def container_stats(self, container_id: str) -> cri.ContainerStats:
        """CPU, memory and writable layer of one container."""
        request = cri.ContainerStatsRequest(container_id=container_id)
        answer = await self._runtime.call("ContainerStats", request, cri.ContainerStatsResponse)
        return answer.stats

    async def all_container_stats(self) -> Sequence[cri.ContainerStats]:
        """CPU, memory and writable layer of all running containers."""
        answer = await self._runtime.call(
            "ListContainerStats", cri.ListContainerStatsRequest(), cri.ListContainerStatsResponse
        )
        return answer.stats

    def events(self) -> AsyncIterator[cri.ContainerEventResponse]:
        """What happens to containers from now on; not every runtime has it."""
        return self._runtime.stream(
            "GetContainerEvents", cri.GetEventsRequest(), cri.ContainerEventResponse
        )

    # Images

    async def images(self) -> Sequence[cri.Image]:
        """The images on this node."""
        answer = await self._image_service.call(
            "ListImages", cri.ListImagesRequest(), cri.ListImagesResponse
        )
        return answer.images

    async def image_status(self, reference: str) -> cri.Image | None:
        """One image, None when it is not on this node."""
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=reference))
        answer = await self._image_service.call("ImageStatus", request, cri.ImageStatusResponse)
        return answer.image if answer.HasField("image") else None

    async def pull_image(self, reference: str) -> str:
        """Fetch and unpack an image. Returns the node's id of it."""
        request = cri.PullImageRequest(image=cri.ImageSpec(image=reference))
        answer = await self._image_service.call(
            "PullImage", request, cri.PullImageResponse, _PULL_S
        )
        return answer.image_ref

    async def remove_image(self, reference: str) -> None:
        """Remove an image from this node. Twice is no harm."""
        request = cri.RemoveImageRequest(image=cri.ImageSpec(image=reference))
        await self._image_service.call("RemoveImage", request, cri.RemoveImageResponse, _REMOVE_S)

    async def image_filesystems(self) -> Sequence[cri.FilesystemUsage]:
        """What images take on disk."""
        answer = await self._image_service.call(
            "ImageFsInfo", cri.ImageFsInfoRequest(), cri.ImageFsInfoResponse
        )
        return answer.image_filesystems
