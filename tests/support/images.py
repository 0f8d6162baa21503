"""Small OCI images built by hand, without a container engine."""

import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
_APPLETS = [
    "sh",
    "ls",
    "cat",
    "sleep",
    "echo",
    "touch",
    "rm",
    "mkdir",
    "ln",
    "stat",
    "sync",
    "dd",
    "chmod",
    "chown",
    "mv",
    "cp",
    "id",
    "env",
    "test",
    "true",
    "false",
    "kill",
    "ps",
    "nc",
    "wget",
    "find",
    "sha256sum",
    "head",
    "tail",
    "grep",
    "sort",
    "setsid",
    "mknod",
    "mkfifo",
    "readlink",
]
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class ImageParts:
    """An image as bytes: config, layers and manifest."""

    config: bytes
    layers: tuple[bytes, ...]
    manifest: bytes

    @property
    def digest(self) -> str:
        """Of the manifest."""
        return _digest(self.manifest)


@dataclass(frozen=True)
class Layer:
    """Files, directories and links of one layer, by path without a leading slash."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, int] = field(default_factory=dict)
    """Path -> mode; `.` is the root directory."""
    modes: Mapping[str, int] = field(default_factory=dict)
    """Of files that are not 755."""

    def tar(self) -> bytes:
        """As an uncompressed tar archive."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, mode in self.directories.items():
                archive.addfile(_entry(name, tarfile.DIRTYPE, mode))
            for name, data in self.files.items():
                entry = _entry(name, tarfile.REGTYPE, self.modes.get(name, 0o755))
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
            for name, target in self.links.items():
                entry = _entry(name, tarfile.SYMTYPE, 0o777)
                entry.linkname = target
                archive.addfile(entry)
        return raw.getvalue()


def busybox_layer() -> Layer:
    """A root file system that holds busybox and little else."""
    return Layer(
        directories={
            ".": 0o755,
            "bin": 0o755,
            "etc": 0o755,
            "tmp": 0o1777,
            "root": 0o700,
            "base": 0o755,
        },
        files={
            "bin/busybox": BUSYBOX.read_bytes(),
            "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\ndevbox:x:1000:1000::/:/bin/sh\n",
            "etc/group": b"root:x:0:\ndevbox:x:1000:\n",
            "base/kept": b"from the image\n",
            "base/gone": b"from the image\n",
        },
        links={f"bin/{applet}": "busybox" for applet in _APPLETS},
    )


def build(layers: Sequence[Layer], config: Mapping[str, Any] | None = None) -> ImageParts:
    """An image of these layers; `config` is the OCI image config's `config` object."""
    tars = tuple(layer.tar() for layer in layers)
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        "history": [{"created_by": "tests"} for _ in tars],
    }
    config_bytes = json.dumps(described).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _descriptor(_CONFIG, config_bytes),
        "layers": [_descriptor(_LAYER, tar) for tar in tars],
    }
    return ImageParts(config_bytes, tars, json.dumps(manifest).encode())


def archive(image: ImageParts, reference: str, path: Path) -> None:
    """Write an OCI archive that `ctr images import` takes."""
    top = {
        **_descriptor(_MANIFEST, image.manifest),
        "annotations": {"io.containerd.image.name": reference},
    }
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [top]}
    blobs = (image.config, image.manifest, *image.layers)
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in blobs},
    }
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


def push(image: ImageParts, registry_url: str, repository: str, tag: str) -> str:
    """Put an image into a registry. Returns the manifest's digest."""
    base = f"{registry_url}/v2/{repository}"
    for blob in (image.config, *image.layers):
        place = _send("POST", f"{base}/blobs/uploads/", b"", "application/octet-stream")
        _send("PUT", f"{place}&digest={_digest(blob)}", blob, "application/octet-stream")
    _send("PUT", f"{base}/manifests/{tag}", image.manifest, _MANIFEST)
    return image.digest


def _send(method: str, url: str, body: bytes, media_type: str) -> str:
    headers = {"Content-Type": media_type}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers["Location"] or ""


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = mode
    entry.mtime = 1_600_000_000
    return entry


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
