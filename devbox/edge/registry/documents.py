"""OCI documents: descriptors, manifests, indexes (OCI image spec 1.1), read and checked.

Pure. Docker's schema 2 forms are read as their OCI equals; only OCI forms are written.
"""

import hashlib
from typing import Any, TypeVar

import msgspec

from devbox.model.errors import BadInput
from devbox.model.names import check_digest

_T = TypeVar("_T")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))

_AS_OCI = {
    DOCKER_MANIFEST: MANIFEST,
    DOCKER_INDEX: INDEX,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TAR,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image of an index runs on."""

    architecture: str
    os: str
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Points at a blob or manifest."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image's manifest."""

    schema_version: int
    media_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = {}


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An image for several platforms."""

    schema_version: int
    media_type: str = ""
    manifests: tuple[Descriptor, ...]


class StoredManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest or index as its exact bytes, which its digest names."""

    raw: bytes
    media_type: str
    digest: str

    @property
    def is_index(self) -> bool:
        """Whether it lists images for several platforms."""
        return as_oci(self.media_type) == INDEX

    def manifest(self) -> Manifest:
        """Read it as an image's manifest, in OCI's media types. Raises BadInput."""
        found = _decode(self.raw, Manifest, self.digest)
        config = _oci_descriptor(found.config)
        layers = tuple(_oci_descriptor(layer) for layer in found.layers)
        return msgspec.structs.replace(found, media_type=MANIFEST, config=config, layers=layers)

    def index(self) -> Index:
        """Read it as an index. Raises BadInput."""
        return _decode(self.raw, Index, self.digest)


class ImageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An image's manifest and config, read."""

    manifest: Manifest
    config: dict[str, Any]
    """OCI image spec, config; fields that we do not know are kept."""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, base first."""
        return tuple(self.config.get("rootfs", {}).get("diff_ids", ()))


def digest_of(data: bytes) -> str:
    """The digest that names these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def as_oci(media_type: str) -> str:
    """The OCI name of a media type; itself when it has none."""
    plain = media_type.split(";")[0].strip()
    return _AS_OCI.get(plain, plain)


def decode_config(raw: bytes, digest: str) -> dict[str, Any]:
    """Read an image's config. Raises BadInput."""
    return _decode(raw, dict[str, Any], digest)


def encode(document: object) -> bytes:
    """One form only: the same document gives the same bytes, so the same digest."""
    return msgspec.json.encode(document, order="deterministic")


def _decode(raw: bytes, kind: type[_T], digest: str) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise BadInput(
            f"the document {digest} is no image we can read: {error}",
            "Ask for an image in OCI or Docker schema 2 form.",
        ) from error


def _oci_descriptor(found: Descriptor) -> Descriptor:
    check_digest(found.digest)
    return msgspec.structs.replace(found, media_type=as_oci(found.media_type))
