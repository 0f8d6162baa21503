"""Any base, any changes, in any number of saves: the newest image is what the box sees.

Unpacked by umoci, and by containerd from zstd and from gzip, which share no code with the saver.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST
from devbox.edge.registry.images import NewLayer, append, model_image
from devbox.model.projects import Image
from node_agent.saver.layer import Target
from node_agent.saver.merging import Merge
from tests.node_agent.saver.saves import order, save
from tests.support.changes import Change, apply, changes
from tests.support.containerd import ContainerdServer
from tests.support.overlays import overlay
from tests.support.registry import RegistryServer
from tests.support.saved_images import (
    check_names,
    layers,
    mounted,
    push_base,
    push_gzip,
    unpack_with_umoci,
)
from tests.support.trees import Fact, differences, facts

pytestmark = pytest.mark.root
_SLOW = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
histories = st.tuples(changes, st.lists(changes, min_size=1, max_size=4))


@settings(max_examples=5, **_SLOW)  # type: ignore[arg-type]
@given(history=histories)
async def test_increments_equal_what_the_box_sees(
    server: RegistryServer,
    containerd_server: ContainerdServer,
    history: tuple[list[Change], list[list[Change]]],
) -> None:
    await tell(server, containerd_server, *history)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=1000, **_SLOW)  # type: ignore[arg-type]
@given(history=histories)
async def test_many_histories(
    server: RegistryServer,
    containerd_server: ContainerdServer,
    history: tuple[list[Change], list[list[Change]]],
) -> None:
    await tell(server, containerd_server, *history)


async def tell(
    server: RegistryServer,
    containerd: ContainerdServer,
    base: list[Change],
    rounds: list[list[Change]],
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name, overlay(Path(name) / "box") as box:
        directory = Path(name)
        apply(box.base, base)
        async with Registry(server.url) as registry:
            image = await push_base(registry, "runtimes/any", box.base)
            times = box.base.stat()
            box.mount()
            os.utime(box.merged, ns=(times.st_atime_ns, times.st_mtime_ns))
            saved = None
            for number, todo in enumerate(rounds):
                apply(box.merged, todo)
                ordered = order(box.upper, image, directory / "index", "any", seq=number)
                saved = await save(registry, ordered)
                unpacked = await unpack_with_umoci(
                    registry, saved.image, directory / f"out-{number}"
                )
                assert differences(facts(box.merged), facts(unpacked)) == []
            assert saved is not None
            check_names(await layers(registry, saved.image))
            for number, one in enumerate((saved.image, await push_gzip(registry, saved.image))):
                with mounted(containerd, server, one, directory / f"pulled-{number}") as seen:
                    assert differences(as_containerd(box.merged), as_containerd(seen)) == []
            merged = await merge_all(registry, image, saved.image)
            unpacked = await unpack_with_umoci(registry, merged, directory / "merged")
            assert differences(facts(box.merged), facts(unpacked)) == []
            again = await save(
                registry,
                order(box.upper, image, directory / "index", "any", known=saved.image.digest),
            )
            assert not again.changed
            full = await save(
                registry, order(box.upper, image, directory / "other", "any", full=True)
            )
            unpacked = await unpack_with_umoci(registry, full.image, directory / "full")
            assert differences(facts(box.merged), facts(unpacked)) == []


def as_containerd(root: Path) -> dict[bytes, Fact]:
    """Without what containerd never sets: the root's time, and attributes that no box can make."""
    found = {path: fact._replace(xattrs=untrusted(fact)) for path, fact in facts(root).items()}
    return found | {b"": found[b""]._replace(mtime_ns=0)}


def untrusted(fact: Fact) -> tuple[tuple[str, bytes], ...]:
    return tuple(pair for pair in fact.xattrs if not pair[0].startswith("trusted."))


async def merge_all(registry: Registry, base: Image, saved: Image) -> Image:
    """The same image with all that its saves made in one layer."""
    _, document = await registry.image(saved.repository, saved.digest)
    _, below = await registry.image(base.repository, base.digest)
    found = document.manifest.layers[len(below.manifest.layers) :]

    async def told(done: int) -> None:
        assert done >= 0

    merged = await Merge(Target(registry, saved.repository), found).run(told)
    assert merged is not None
    new = NewLayer(descriptor=merged.descriptor, diff_id=merged.diff_id, created_by="merge")
    made = append(below, [new])
    await registry.put_blob(saved.repository, made.config, CONFIG)
    await registry.put_manifest(saved.repository, made.manifest, MANIFEST)
    image = model_image(saved.repository, made.digest, made.document)
    check_names(await layers(registry, image))
    return image
