"""Images for tests: bases made by GNU tar, and saved images unpacked by umoci and by containerd."""

import contextlib
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, LAYER_GZIP, LAYER_TAR, MANIFEST
from devbox.edge.registry.images import NewLayer, append, model_image, scratch
from devbox.model.projects import Image, ImageConfig
from tests.support.containerd import ContainerdServer
from tests.support.registry import RegistryServer


def tar_of(tree: Path) -> bytes:
    """A tree as GNU tar writes it."""
    command = ["tar", "-C", str(tree), "--format=posix", "--xattrs", "--xattrs-include=*", "--acls"]
    return subprocess.run(
        [*command, "--sort=name", "-cf", "-", "."], check=True, capture_output=True
    ).stdout


async def push_base(registry: Registry, repository: str, tree: Path) -> Image:
    """A one-layer image of a tree."""
    layer = await registry.put_blob(repository, tar_of(tree), LAYER_TAR)
    new = NewLayer(descriptor=layer, diff_id=layer.digest, created_by="test")
    made = append(scratch("amd64", ImageConfig(cmd=("/bin/sh",))), [new])
    await registry.put_blob(repository, made.config, CONFIG)
    await registry.put_manifest(repository, made.manifest, MANIFEST)
    return model_image(repository, made.digest, made.document)


async def layers(registry: Registry, image: Image, first: int = 0) -> list[bytes]:
    """The uncompressed layers of an image, all or from one on, checked against their diff ids."""
    _, document = await registry.image(image.repository, image.digest)
    found = []
    both = list(zip(document.manifest.layers, document.diff_ids, strict=True))
    for layer, diff_id in both[first:]:
        pieces = [part async for part in registry.stream_blob(image.repository, layer.digest)]
        raw = b"".join(pieces)
        if layer.media_type.endswith("zstd"):
            raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)).read()
        elif layer.media_type.endswith("gzip"):
            raw = gzip.decompress(raw)
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == diff_id
        found.append(raw)
    return found


def check_names(tars: list[bytes]) -> None:
    """No path twice in a layer, read by Python's own tar reader."""
    for raw in tars:
        with tarfile.open(fileobj=io.BytesIO(raw), errors="surrogateescape") as found:
            names = found.getnames()
        assert len(names) == len(set(names))


async def unpack_with_umoci(registry: Registry, image: Image, directory: Path) -> Path:
    """The image's root file system. umoci reads no zstd, so other layers are made gzip first."""
    layout = directory / "layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    _, document = await registry.image(image.repository, image.digest)
    packed = [
        b"".join([part async for part in registry.stream_blob(image.repository, layer.digest)])
        if layer.media_type == LAYER_GZIP
        else gzip.compress(raw, 1, mtime=0)
        for layer, raw in zip(document.manifest.layers, await layers(registry, image), strict=True)
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(blobs, json.dumps(document.config).encode(), CONFIG),
        "layers": [_blob(blobs, data, LAYER_GZIP) for data in packed],
    }
    entry = _blob(blobs, json.dumps(manifest).encode(), MANIFEST)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "it"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    bundle = directory / "bundle"
    subprocess.run(
        ["umoci", "unpack", "--keep-dirlinks", "--image", f"{layout}:it", str(bundle)],
        check=True,
        capture_output=True,
    )
    return bundle / "rootfs"


async def push_gzip(registry: Registry, image: Image) -> Image:
    """The same image with layers that every unpacker reads."""
    _, document = await registry.image(image.repository, image.digest)
    new = []
    for raw, diff_id in zip(await layers(registry, image), document.diff_ids, strict=True):
        packed = gzip.compress(raw, 1, mtime=0)
        layer = await registry.put_blob(image.repository, packed, LAYER_GZIP)
        new.append(NewLayer(descriptor=layer, diff_id=diff_id, created_by="test"))
    made = append(scratch(image.architecture, ImageConfig()), new)
    await registry.put_blob(image.repository, made.config, CONFIG)
    await registry.put_manifest(image.repository, made.manifest, MANIFEST)
    return model_image(image.repository, made.digest, made.document)


@contextlib.contextmanager
def mounted(
    containerd: ContainerdServer, server: RegistryServer, image: Image, at: Path
) -> Iterator[Path]:
    """The image, pulled and unpacked by containerd, as a read-only mount."""
    at.mkdir()
    reference = f"{server.host}/{image.repository}@{image.digest}"
    try:
        containerd.ctr("images", "pull", "--plain-http", reference)
        containerd.ctr("images", "mount", reference, str(at))
        yield at
    finally:
        subprocess.run(["umount", at], check=False, capture_output=True)
        containerd.ctr("images", "unmount", "--rm", str(at), check=False)
        containerd.ctr("images", "rm", reference, check=False)


def _blob(blobs: Path, data: bytes, media_type: str) -> dict[str, Any]:
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}
