"""What the pod driver asks of CRI for a box. Pure: structs in, CRI messages out.

The container is a plain one. What makes it a box is added on its way by the commit-shim, and only
because the controller recorded the pod's UID.
"""

from pathlib import Path

from controller.core.state import Box
from controller.embedded.names import DOMAIN
from controller.store.projects import ProjectRow
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.projects import Image, Resources

PROJECT_LABEL = "devbox.dev/project"
POD_LABEL = "io.kubernetes.pod.uid"
CONTAINER = "box"
LOG_FILE = "box.log"
CGROUP_PARENT = "/devbox"

_PERIOD_US = 100_000
_SHARES_PER_CPU = 1024
_OOM_SCORE = 300
# What a kubelet hides of /proc and /sys; a runtime hides nothing by itself.
_MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
# Nobody who works in a box makes device nodes; those who attack a host do.
_DROPPED = ("MKNOD",)
_NO_IPV6 = "net.ipv6.conf.eth0.disable_ipv6"


def reference(registry_host: str, image: Image) -> str:
    """An image by digest, as CRI names it."""
    return f"{registry_host}/{image.repository}@{image.digest}"


def labels(project: ProjectRow, box: Box) -> dict[str, str]:
    """Ours, and those that a kubelet sets."""
    return {
        PROJECT_LABEL: project.uid,
        POD_LABEL: box.pod_uid,
        "io.kubernetes.pod.name": project.name,
        "io.kubernetes.pod.namespace": project.namespace,
    }


def sandbox(
    project: ProjectRow, box: Box, *, logs: Path, name_server: str, ipv6: bool
) -> cri.PodSandboxConfig:
    """The sandbox of a box."""
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(),
        seccomp=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault),
    )
    return cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=project.name,
            uid=box.pod_uid,
            namespace=project.namespace,
            attempt=box.generation,
        ),
        hostname=project.name,
        log_directory=str(logs),
        dns_config=cri.DNSConfig(servers=[name_server], searches=[f"{project.namespace}.{DOMAIN}"]),
        labels=labels(project, box),
        linux=cri.LinuxPodSandboxConfig(
            cgroup_parent=CGROUP_PARENT,
            security_context=context,
            # Boxes have no IPv6 address: without one they cannot go around the IPv4 filter.
            sysctls={_NO_IPV6: "1"} if ipv6 else {},
        ),
    )


def container(project: ProjectRow, box: Box, image: str) -> cri.ContainerConfig:
    """The box's one container."""
    context = cri.LinuxContainerSecurityContext(
        namespace_options=_namespaces(),
        masked_paths=_MASKED,
        readonly_paths=_READ_ONLY,
        capabilities=cri.Capability(drop_capabilities=_DROPPED),
        seccomp=cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault),
    )
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=CONTAINER),
        image=cri.ImageSpec(image=image),
        labels={**labels(project, box), "io.kubernetes.container.name": CONTAINER},
        log_path=LOG_FILE,
        linux=cri.LinuxContainerConfig(
            resources=resources(project.spec.resources), security_context=context
        ),
    )


def resources(wanted: Resources) -> cri.LinuxContainerResources:
    """Bounds as the kernel takes them; none where none is wanted."""
    bounds = cri.LinuxContainerResources(oom_score_adj=_OOM_SCORE)
    if wanted.cpus:
        bounds.cpu_period = _PERIOD_US
        bounds.cpu_quota = max(1000, round(wanted.cpus * _PERIOD_US))
        bounds.cpu_shares = max(2, round(wanted.cpus * _SHARES_PER_CPU))
    if wanted.memory_bytes:
        bounds.memory_limit_in_bytes = wanted.memory_bytes
    return bounds


def _namespaces() -> cri.NamespaceOption:
    return cri.NamespaceOption(network=cri.POD, pid=cri.CONTAINER, ipc=cri.POD)
