"""The image of every sandbox: one static program that does nothing."""

import io
import tarfile
from pathlib import Path

from devbox.cli.server.configs import PAUSE_REPOSITORY, PAUSE_TAG
from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST, digest_of
from devbox.edge.registry.images import NewLayer, append, scratch
from devbox.model.errors import NotFound
from devbox.model.projects import ImageConfig
from node_agent.runtimes.builder import architecture

_BUSYBOX = Path("/bin/busybox")
# Busybox takes its first argument for the applet only under its own name.
_PROGRAM = "busybox"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


async def push(registry: Registry) -> None:
    """Have the image in the registry."""
    if await registry.manifest_digest(PAUSE_REPOSITORY, PAUSE_TAG) is not None:
        return
    layer = _tar()
    descriptor = await registry.put_blob(PAUSE_REPOSITORY, layer, _LAYER)
    config = ImageConfig(entrypoint=(f"/{_PROGRAM}", "sleep", "2147483647"))
    made = append(
        scratch(architecture(), config),
        [NewLayer(descriptor=descriptor, diff_id=digest_of(layer), created_by="devbox")],
    )
    await registry.put_blob(PAUSE_REPOSITORY, made.config, CONFIG)
    await registry.put_manifest(PAUSE_REPOSITORY, made.manifest, MANIFEST, PAUSE_TAG)


def _tar() -> bytes:
    try:
        program = _BUSYBOX.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"{_BUSYBOX} is missing", "Install the Debian package busybox-static."
        ) from error
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(_PROGRAM)
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    return out.getvalue()
