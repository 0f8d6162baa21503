"""Making images: layers on a base, the config that goes with them, and chain ids. Pure.

Deterministic: the same base and layers give the same bytes, so the same digest. Times are 1970's.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from devbox.edge.http1 import number
from devbox.edge.registry.documents import (
    CONFIG,
    MANIFEST,
    Descriptor,
    ImageDocument,
    Manifest,
    digest_of,
    encode,
)
from devbox.model.projects import Image, ImageConfig

EPOCH = "1970-01-01T00:00:00Z"
RUNTIME_LAYERS = "dev.devbox.runtime-layers"
"""Annotation of a save's manifest: how many of its first layers are the runtime's."""

SPARSE = "dev.devbox.sparse"
"""Annotation of a save's manifest: JSON list of [path, size] of files with large holes."""


class NewLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that is in the registry, and what its bytes are when unpacked."""

    descriptor: Descriptor
    diff_id: str
    created_by: str


class MadeImage(msgspec.Struct, frozen=True, kw_only=True):
    """A config and a manifest, ready to push: config first."""

    config: bytes
    manifest: bytes
    document: ImageDocument

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return digest_of(self.manifest)


def scratch(architecture: str, config: ImageConfig) -> ImageDocument:
    """An image with no layers, to append to."""
    body = {
        "architecture": architecture,
        "os": "linux",
        "created": EPOCH,
        "config": _config_body(config),
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": [],
    }
    nothing = Descriptor(media_type=CONFIG, digest=digest_of(b""), size=0)
    return ImageDocument(
        manifest=Manifest(schema_version=2, config=nothing, layers=()), config=body
    )


def append(
    base: ImageDocument, layers: Sequence[NewLayer], annotations: dict[str, str] | None = None
) -> MadeImage:
    """The base with layers on top."""
    config = dict(base.config)
    config["created"] = EPOCH
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [*base.diff_ids, *(layer.diff_id for layer in layers)],
    }
    made = [{"created": EPOCH, "created_by": layer.created_by} for layer in layers]
    config["history"] = [*_history(base), *made]
    descriptors = (*base.manifest.layers, *(layer.descriptor for layer in layers))
    return assemble(config, descriptors, {**base.manifest.annotations, **(annotations or {})})


def keep_first(base: ImageDocument, count: int) -> ImageDocument:
    """The image of the first `count` layers only."""
    config = dict(base.config)
    config["rootfs"] = {"type": "layers", "diff_ids": list(base.diff_ids[:count])}
    config["history"] = _first_history(_history(base), count)
    manifest = msgspec.structs.replace(base.manifest, layers=base.manifest.layers[:count])
    return ImageDocument(manifest=manifest, config=config)


def without_volumes(base: ImageDocument) -> MadeImage:
    """The same image with no VOLUME: what lies there must be in the upper like all else."""
    config = dict(base.config)
    inner = dict(config.get("config") or {})
    inner.pop("Volumes", None)
    config["config"] = inner
    return assemble(config, base.manifest.layers, base.manifest.annotations)


def assemble(
    config: dict[str, Any], layers: Sequence[Descriptor], annotations: dict[str, str]
) -> MadeImage:
    """Config and manifest as bytes."""
    raw_config = encode(config)
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        config=Descriptor(media_type=CONFIG, digest=digest_of(raw_config), size=len(raw_config)),
        layers=tuple(layers),
        annotations=annotations,
    )
    document = ImageDocument(manifest=manifest, config=config)
    return MadeImage(config=raw_config, manifest=encode(manifest), document=document)


def chain_id(diff_ids: Sequence[str]) -> str:
    """The name of these layers applied in order (OCI image spec, config, ChainID)."""
    chain = ""
    for diff_id in diff_ids:
        joined = f"{chain} {diff_id}".encode() if chain else b""
        chain = f"sha256:{hashlib.sha256(joined).hexdigest()}" if chain else diff_id
    return chain


def model_image(repository: str, digest: str, document: ImageDocument) -> Image:
    """How the rest of the product names this image."""
    return Image(
        repository=repository,
        digest=digest,
        architecture=str(document.config.get("architecture", "")),
        config=box_config(document),
        layers=len(document.manifest.layers),
    )


def box_config(document: ImageDocument) -> ImageConfig:
    """What of the config matters to a box."""
    inner = document.config.get("config") or {}
    return ImageConfig(
        entrypoint=tuple(inner.get("Entrypoint") or ()),
        cmd=tuple(inner.get("Cmd") or ()),
        env=tuple(inner.get("Env") or ()),
        user=str(inner.get("User") or ""),
        working_dir=str(inner.get("WorkingDir") or ""),
    )


def runtime_layers(document: ImageDocument) -> int:
    """How many of its first layers are the runtime's: all, unless it is a save."""
    told = number(document.manifest.annotations.get(RUNTIME_LAYERS, ""))
    count = len(document.manifest.layers)
    return count if told is None else min(told, count)


def _config_body(config: ImageConfig) -> dict[str, Any]:
    body = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": list(config.env),
        "User": config.user,
        "WorkingDir": config.working_dir,
    }
    return {key: value for key, value in body.items() if value}


def _history(base: ImageDocument) -> list[dict[str, Any]]:
    """The base's history; made up where it does not fit the layers, which tools refuse."""
    told = list(base.config.get("history") or ())
    real = [entry for entry in told if not entry.get("empty_layer")]
    if len(real) == len(base.diff_ids):
        return told
    return [{"created": EPOCH} for _ in base.diff_ids]


def _first_history(history: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    for entry in history:
        if not entry.get("empty_layer"):
            if not count:
                break
            count -= 1
        kept.append(entry)
    return kept


def sparse_files(document: ImageDocument) -> list[tuple[str, int]]:
    """Files with large holes in an image's layers: standard unpackers write them out in full."""
    told = document.manifest.annotations.get(SPARSE, "[]")
    return msgspec.json.decode(told, type=list[tuple[str, int]])
