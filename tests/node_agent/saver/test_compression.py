"""Gzip saves: the same files for containerd and umoci, as they lie in the registry."""

import os
import subprocess
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import LAYER_GZIP, LAYER_ZSTD
from devbox.model.saves import Compression
from node_agent.saver.notes import LARGE_BYTES
from tests.node_agent.saver.saves import order, save
from tests.node_agent.saver.test_save import Story, fill
from tests.support.containerd import ContainerdServer
from tests.support.overlays import Overlay
from tests.support.registry import RegistryServer
from tests.support.saved_images import mounted
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root
GZIP = Compression.GZIP


@pytest.fixture
async def story(box: Overlay, registry: Registry, tmp_path: Path) -> Story:
    for name in ("kept", "gone", "edited", "dir/inside", "dir/also", "tree/a/b/c"):
        path = box.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"base {name}")
    made = Story(box, registry, tmp_path, "packed")
    await made.begin()
    return made


async def media_types(story: Story) -> list[str]:
    """Of the newest save's layers above the base's."""
    image = story.saves[-1].image
    _, document = await story.registry.image(image.repository, image.digest)
    return [layer.media_type for layer in document.manifest.layers[1:]]


async def test_containerd_and_umoci_unpack_gzip_as_it_lies_there(
    story: Story, server: RegistryServer, containerd_server: ContainerdServer, tmp_path: Path
) -> None:
    fill(story.box.merged)
    # containerd chowns a file once more for each of its further names, which takes it off.
    os.removexattr(story.box.merged / "new", "security.capability")
    await story.save(compression=GZIP)
    (story.box.merged / "kept").unlink()
    subprocess.run(["rm", "-r", story.box.merged / "tree"], check=True)
    (story.box.merged / "tree").mkdir()
    await story.save(compression=GZIP)
    assert await media_types(story) == [LAYER_GZIP] * 2
    await story.check()
    image = story.saves[-1].image
    with mounted(containerd_server, server, image, tmp_path / "pulled") as seen:
        found = differences(facts(story.box.merged), facts(seen))
    assert [line for line in found if not line.startswith("b''.mtime_ns")] == []


async def test_both_forms_hold_the_same_bytes(story: Story) -> None:
    fill(story.box.merged)
    names = {}
    for compression in Compression:
        index = story.directory / f"{compression}.index"
        ordered = order(story.box.upper, story.base, index, "same", compression=compression)
        image = (await save(story.registry, ordered)).image
        again = (await save(story.registry, ordered)).image
        assert again.digest == image.digest, "the same tree gives the same digest"
        _, document = await story.registry.image(image.repository, image.digest)
        names[compression] = document.diff_ids
    assert names[Compression.ZSTD] == names[GZIP]


async def test_a_server_that_changes_to_gzip_writes_its_own_layers_anew(story: Story) -> None:
    (story.box.merged / "one").write_text("one")
    await story.save()
    (story.box.merged / "two").write_text("two")
    await story.save(compression=GZIP)
    assert await media_types(story) == [LAYER_GZIP]
    await story.check()
    (story.box.merged / "three").write_text("three")
    await story.save()
    assert await media_types(story) == [LAYER_ZSTD]
    await story.check()


async def test_a_large_save_names_what_makes_it_large(story: Story) -> None:
    root = story.box.merged
    subprocess.run(["fallocate", "-l", str(LARGE_BYTES), root / "core.17"], check=True)
    (root / "small").write_text("small")
    saved = await story.save()
    assert f"of these /core.17 ({LARGE_BYTES >> 20} MiB)" in saved.note
    (root / "small").write_text("smaller")
    assert (await story.save()).note == ""
