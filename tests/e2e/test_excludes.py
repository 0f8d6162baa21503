"""What devbox.yaml leaves out is in no blob of a save or release: every blob is looked into."""

import json
import os
import urllib.request
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from tests.support.person import Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
NAME = "excluder"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("excludes") / "home", server.root)
    person.ok("create", NAME, "--runtime", "python", timeout=280)
    yield person
    for name in (NAME, "fromit"):
        person.devbox("delete", name, "--yes")


class Blobs:
    """A project's images, as the registry gives them."""

    def __init__(self, server: Server, uid: str) -> None:
        self._base = f"http://{server.settings.registry_host}/v2/projects/{uid}"

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(f"{self._base}/{path}", headers={"Accept": _MANIFEST})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def of(self, tag: str) -> bytes:
        """Manifest, config and all layers of an image, uncompressed."""
        raw = self._get(f"manifests/{tag}")
        told = json.loads(raw)
        parts = [raw, self._get(f"blobs/{told['config']['digest']}")]
        for layer in told["layers"]:
            data = self._get(f"blobs/{layer['digest']}")
            parts.append(_unpacked(data, layer["mediaType"]))
        return b"\n".join(parts)


def _unpacked(data: bytes, media_type: str) -> bytes:
    if media_type.endswith("zstd"):
        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return zlib.decompress(data, 31) if media_type.endswith("gzip") else data


@pytest.fixture(scope="module")
def blobs(me: Person, server: Server) -> Blobs:
    return Blobs(server, me.json("show", NAME)["uid"])


def test_a_secret_that_saves_hold_is_in_no_blob_of_a_release(me: Person, blobs: Blobs) -> None:
    secret, cached, source = (os.urandom(12).hex() for _ in range(3))
    # First a save that holds both: a later release must not stand on its layers.
    me.sh(NAME, f"cd /project; mkdir cache; echo {secret} > .env; echo {source} > main.py")
    first = me.json("save", NAME)["seq"]
    assert secret.encode() in blobs.of(f"save-{first}"), "the look finds what is there"
    rules = "saves: {exclude: [cache]}\\nreleases: {exclude: [.env]}\\n"
    me.sh(NAME, f"cd /project; printf '{rules}' > devbox.yaml; echo {cached} > cache/object")
    later = me.json("save", NAME)["seq"]
    held = blobs.of(f"save-{later}")
    assert secret.encode() in held
    assert cached.encode() not in held
    assert b"project/cache/object" not in held
    me.ok("release", NAME, "v1")
    released = blobs.of("release-v1")
    assert source.encode() in released
    for left_out in (secret, cached):
        assert left_out.encode() not in released
    assert b"project/.env" not in released, "nor by its name alone, as in a whiteout"
    assert b"project/.wh..env" not in released


def test_a_project_from_the_release_starts_without_and_the_box_still_has_both(me: Person) -> None:
    me.ok("create", "fromit", "--runtime", f"{NAME}:v1", timeout=280)
    assert me.sh("fromit", "cd /project; ls -A").split() == ["devbox.yaml", "main.py"]
    assert me.sh(NAME, "cd /project; ls -A").split() == [".env", "cache", "devbox.yaml", "main.py"]


def test_the_next_save_holds_the_secret_again_and_a_deleted_one_leaves_releases_clean(
    me: Person, blobs: Blobs
) -> None:
    me.ok("stop", NAME, "--wait")
    me.ok("start", NAME)
    secret = me.sh(NAME, "cat /project/.env").strip()
    me.sh(NAME, "rm /project/.env; echo more >> /project/main.py")
    me.ok("release", NAME, "v2")
    assert secret.encode() not in blobs.of("release-v2")
