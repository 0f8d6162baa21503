"""The client against a real registry."""

import hashlib
import os

import pytest

from devbox.edge.registry import Deadlines, Registry
from devbox.edge.registry.documents import CONFIG, LAYER_TAR, MANIFEST, digest_of
from devbox.edge.registry.images import NewLayer, append, scratch
from devbox.edge.registry.upload import PART_BYTES
from devbox.model.errors import BadInput, Internal, NotFound, Unavailable
from devbox.model.projects import ImageConfig
from tests.devbox.edge.registry.conftest import QUICK
from tests.support.registry import RegistryServer


async def push_image(registry: Registry, repository: str, data: bytes, tag: str = "") -> str:
    layer = await registry.put_blob(repository, data, LAYER_TAR)
    new = NewLayer(descriptor=layer, diff_id=layer.digest, created_by="test")
    image = append(scratch("amd64", ImageConfig(user="me")), [new])
    await registry.put_blob(repository, image.config, CONFIG)
    pushed = await registry.put_manifest(repository, image.manifest, MANIFEST, tag)
    return pushed.digest


@pytest.mark.smoke
async def test_a_blob_of_several_parts_comes_back_whole(registry: Registry) -> None:
    data = os.urandom(PART_BYTES + 123_457)
    async with registry.upload("a/blob") as upload:
        for start in range(0, len(data), 1 << 20):
            await upload.write(data[start : start + (1 << 20)])
        told = await upload.finish(digest_of(data), LAYER_TAR)
    assert told.size == len(data)
    parts = [part async for part in registry.stream_blob("a/blob", told.digest)]
    assert b"".join(parts) == data
    assert await registry.blob_size("a/blob", told.digest) == len(data)
    assert await registry.read_range("a/blob", told.digest, 10, 19) == data[10:20]


async def test_an_upload_with_a_wrong_digest_is_refused(registry: Registry) -> None:
    async with registry.upload("a/wrong") as upload:
        await upload.write(b"one thing")
        with pytest.raises(Unavailable, match="other bytes"):
            await upload.finish(digest_of(b"another"), LAYER_TAR)
    assert await registry.blob_size("a/wrong", digest_of(b"another")) is None


async def test_an_empty_blob_can_be_pushed(registry: Registry) -> None:
    told = await registry.put_blob("a/empty", b"", LAYER_TAR)
    assert await registry.read_blob("a/empty", told.digest) == b""


async def test_mounting_moves_no_bytes_and_says_when_it_cannot(registry: Registry) -> None:
    blob = await registry.put_blob("m/one", b"shared", LAYER_TAR)
    assert await registry.mount_blob("m/two", blob.digest, "m/one")
    assert await registry.read_blob("m/two", blob.digest) == b"shared"
    assert not await registry.mount_blob("m/three", digest_of(b"nobody has this"), "m/one")


async def test_an_image_is_found_by_tag_and_digest_and_can_be_deleted(registry: Registry) -> None:
    digest = await push_image(registry, "i/app", b"layer", "v1")
    assert await registry.manifest_digest("i/app", "v1") == digest
    stored, document = await registry.image("i/app", digest)
    assert stored.digest == digest
    assert document.config["config"]["User"] == "me"
    assert await registry.delete_manifest("i/app", digest)
    assert not await registry.delete_manifest("i/app", digest)
    assert await registry.manifest_digest("i/app", "v1") is None
    with pytest.raises(NotFound):
        await registry.get_manifest("i/app", "v1")


async def test_a_manifest_whose_blob_is_missing_is_refused(registry: Registry) -> None:
    layer = await registry.put_blob("i/half", b"here", LAYER_TAR)
    gone = NewLayer(descriptor=layer, diff_id=layer.digest, created_by="test")
    image = append(scratch("amd64", ImageConfig()), [gone])
    with pytest.raises((BadInput, NotFound)):
        await registry.put_manifest("i/half", image.manifest, MANIFEST)


async def test_all_pages_of_tags_are_read(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devbox.edge.registry.client._TAGS_A_PAGE", "2")
    for number in range(5):
        await push_image(registry, "i/tags", b"x", f"t{number}")
    assert await registry.tags("i/tags") == ("t0", "t1", "t2", "t3", "t4")
    assert await registry.tags("i/nobody") == ()


async def test_a_deleted_blob_is_gone_from_its_repository(registry: Registry) -> None:
    blob = await registry.put_blob("d/one", b"to delete", LAYER_TAR)
    assert await registry.delete_blob("d/one", blob.digest)
    assert not await registry.delete_blob("d/one", blob.digest)
    assert await registry.blob_size("d/one", blob.digest) is None


async def test_a_damaged_blob_is_noticed(server: RegistryServer, registry: Registry) -> None:
    blob = await registry.put_blob("x/damaged", b"good bytes here", LAYER_TAR)
    name = blob.digest.removeprefix("sha256:")
    (data,) = server.root.glob(f"**/{name}/data")
    data.write_bytes(b"evil bytes here")
    with pytest.raises(Internal, match="damaged"):
        await registry.read_blob("x/damaged", blob.digest)


async def test_a_registry_that_is_down_is_unavailable_and_then_back(
    own_server: RegistryServer,
) -> None:
    async with Registry(own_server.url, deadlines=QUICK) as registry:
        await registry.ping()
        own_server.kill()
        with pytest.raises(Unavailable, match=r"does not answer \(connection refused\)"):
            await registry.ping()
        own_server.start()
        await registry.ping()


async def test_an_upload_survives_a_registry_that_dies_between_parts(
    own_server: RegistryServer,
) -> None:
    data = os.urandom(2 * PART_BYTES)
    patient = Deadlines(retry_after_s=(0.05,) * 20)
    async with Registry(own_server.url, deadlines=patient) as registry:
        async with registry.upload("k/blob") as upload:
            await upload.write(data[:PART_BYTES])
            own_server.kill()
            own_server.start()
            await upload.write(data[PART_BYTES:])
            told = await upload.finish(f"sha256:{hashlib.sha256(data).hexdigest()}", LAYER_TAR)
        assert await registry.blob_size("k/blob", told.digest) == len(data)


async def test_an_upload_to_a_dead_registry_says_unavailable(own_server: RegistryServer) -> None:
    async with (
        Registry(own_server.url, deadlines=QUICK) as registry,
        registry.upload("k/dead") as upload,
    ):
        await upload.write(b"x" * 100)
        own_server.kill()
        with pytest.raises(Unavailable):
            await upload.finish(digest_of(b"x" * 100), LAYER_TAR)
