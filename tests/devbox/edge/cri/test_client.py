"""The CRI client against a real containerd."""

from pathlib import Path

import pytest

from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.errors import NotFound
from tests.support.containerd import BUSYBOX_IMAGE, ContainerdServer
from tests.support.images import build, busybox_layer, push
from tests.support.pods import container_config, sandbox_config
from tests.support.registry import running_registry

pytestmark = pytest.mark.root


@pytest.mark.smoke
async def test_a_pod_from_run_to_remove(containerd_server: ContainerdServer) -> None:
    client = Cri(containerd_server.socket)
    assert (await client.version()).runtime_name == "containerd"
    sandbox = sandbox_config("client-story", network=True)
    sandbox_id = await client.run_sandbox(sandbox)
    try:
        status = (await client.sandbox_status(sandbox_id)).status
        assert status.state == cri.SANDBOX_READY
        assert status.network.ip
        container_id = await client.create_container(sandbox_id, container_config(), sandbox)
        await client.start_container(container_id)
        done = await client.exec_sync(container_id, ["cat", "/base/kept"])
        assert (done.exit_code, done.stdout) == (0, b"from the image\n")
        assert [c.id for c in await client.containers(sandbox_id=sandbox_id)] == [container_id]
        await client.stop_container(container_id, grace_s=0)
        state = (await client.container_status(container_id)).status.state
        assert state == cri.CONTAINER_EXITED
    finally:
        await client.stop_sandbox(sandbox_id)
        await client.remove_sandbox(sandbox_id)
    with pytest.raises(NotFound):
        await client.container_status(container_id)
    await client.close()


async def test_pull_by_digest(containerd_server: ContainerdServer, tmp_path: Path) -> None:
    client = Cri(containerd_server.socket)
    image = build([busybox_layer()], {"User": "devbox"})
    with running_registry(tmp_path) as registry:
        reference = f"{registry.host}/pulled@{push(image, registry.url, 'pulled', 'v1')}"
        assert await client.image_status(reference) is None
        await client.pull_image(reference)
    status = await client.image_status(reference)
    assert status is not None
    assert status.username == "devbox"
    await client.remove_image(reference)
    assert await client.image_status(reference) is None
    assert await client.image_status(BUSYBOX_IMAGE) is not None
    await client.close()
