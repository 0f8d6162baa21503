"""Lets CRI remove a box whose container somebody removed straight at containerd.

Containerd's CRI keeps such a container in its own list and then fails every removal of it, and of
its sandbox, until containerd is restarted. An empty record under the same id lets it go.
"""

import structlog
from google.protobuf.any_pb2 import Any

from devbox.edge.containerd.client import Containerd
from devbox.edge.containerd.proto import containers_pb2
from devbox.edge.cri.client import Cri
from devbox.model.errors import NotFound
from node_agent.shim.rewrite import PROJECT_LABEL

_log = structlog.get_logger()
_RUNTIME = "io.containerd.runc.v2"
_SPEC = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Spec", value=b"{}")


async def heal(
    containerd: Containerd, runtime: Cri, *, container_id: str = "", sandbox_id: str = ""
) -> bool:
    """Give lost containers of boxes their records back. Returns whether there were any."""
    healed = False
    for known in await runtime.containers(sandbox_id=sandbox_id):
        ours = PROJECT_LABEL in known.labels and (not container_id or known.id == container_id)
        if ours and not await _exists(containerd, known.id):
            record = containers_pb2.Container(id=known.id, spec=_SPEC)
            record.runtime.name = _RUNTIME
            await containerd.create_container(record)
            _log.info("lost_container_healed", container=known.id)
            healed = True
    return healed


async def _exists(containerd: Containerd, container_id: str) -> bool:
    try:
        await containerd.container(container_id)
    except NotFound:
        return False
    return True
