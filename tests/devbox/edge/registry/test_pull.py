"""Images from other registries, by tag and platform."""

import msgspec
import pytest

from devbox.edge.registry import Puller, Reference, Registry
from devbox.edge.registry.documents import DOCKER_MANIFEST, INDEX
from devbox.model.errors import BadInput, NotFound
from tests.devbox.edge.registry.conftest import QUICK
from tests.devbox.edge.registry.test_client import push_image
from tests.support.registry import RegistryServer


def reference(server: RegistryServer, name: str) -> Reference:
    return Reference.parse(f"{server.host}/{name}")


async def test_an_image_is_copied_under_the_same_digest(
    server: RegistryServer, own_server: RegistryServer, registry: Registry
) -> None:
    digest = await push_image(registry, "lib/thing", b"bytes of it", "1.2")
    told: list[tuple[int, int]] = []

    async def progress(done: int, total: int) -> None:
        told.append((done, total))

    async with Registry(own_server.url, deadlines=QUICK) as target:
        copied = await Puller(target, QUICK).pull(
            reference(server, "lib/thing:1.2"), "runtimes/thing", "amd64", progress=progress
        )
        assert copied.stored.digest == digest
        await target.image("runtimes/thing", digest)
    assert told[-1][0] == told[-1][1] > 0


async def test_the_platform_is_picked_from_an_index(
    server: RegistryServer, registry: Registry
) -> None:
    digest = await push_image(registry, "lib/multi", b"for amd64")
    stored = await registry.get_manifest("lib/multi", digest)
    entry = {"mediaType": stored.media_type, "digest": digest, "size": len(stored.raw)}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {**entry, "platform": {"architecture": "amd64", "os": "windows"}},
            {**entry, "platform": {"architecture": "amd64", "os": "linux"}},
        ],
    }
    await registry.put_manifest("lib/multi", msgspec.json.encode(index), INDEX, "latest")
    copied = await Puller(registry).pull(reference(server, "lib/multi"), "runtimes/m", "amd64")
    assert copied.stored.digest == digest
    with pytest.raises(BadInput, match="architecture"):
        await Puller(registry).pull(reference(server, "lib/multi"), "runtimes/m", "arm64")


async def test_a_missing_image_is_called_by_its_name(
    server: RegistryServer, registry: Registry
) -> None:
    with pytest.raises(NotFound) as caught:
        await Puller(registry).pull(reference(server, "lib/none:1"), "runtimes/s", "amd64")
    assert caught.value.message == f"there is no image {server.host}/lib/none:1"


async def test_another_architecture_is_refused(server: RegistryServer, registry: Registry) -> None:
    await push_image(registry, "lib/single", b"amd64 only", "latest")
    with pytest.raises(BadInput, match="architecture"):
        await Puller(registry).pull(reference(server, "lib/single"), "runtimes/s", "arm64")


async def test_docker_schema_2_is_read_as_oci(registry: Registry) -> None:
    digest = await push_image(registry, "lib/docker", b"old form")
    stored = await registry.get_manifest("lib/docker", digest)
    docker = stored.raw.replace(
        b"application/vnd.oci.image.manifest.v1+json", DOCKER_MANIFEST.encode()
    ).replace(
        b"application/vnd.oci.image.layer.v1.tar",
        b"application/vnd.docker.image.rootfs.diff.tar.gzip",
    )
    put = await registry.put_manifest("lib/docker", docker, DOCKER_MANIFEST)
    _, document = await registry.image("lib/docker", put.digest)
    assert document.manifest.layers[0].media_type.endswith("oci.image.layer.v1.tar+gzip")


@pytest.mark.parametrize(
    "text",
    ["postgres", "postgres:16", "host.example/UPPER", "host.example/a:", "host.example/a@sha256:1"],
)
def test_references_without_a_host_or_malformed_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Reference.parse(text)


def test_references_print_what_they_parsed() -> None:
    parsed = Reference.parse("registry.example:5000/a/b")
    assert str(parsed) == "registry.example:5000/a/b:latest"
    assert parsed.base_url == "https://registry.example:5000"
    assert Reference.parse("127.0.0.1:5000/a").base_url.startswith("http:")
