"""Two saves of one upper, compared through the registry."""

import os
import shutil
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.model.errors import NotFound
from devbox.model.nodes import DiffOrder
from devbox.model.projects import Image
from devbox.model.saves import SaveDiff
from node_agent.saver.comparing import ask_worker, diff
from tests.node_agent.saver.saves import order, save
from tests.support.overlays import Overlay
from tests.support.saved_images import push_base

pytestmark = pytest.mark.root


def question(older: Image, newer: Image, after: str = "", limit: int = 1000) -> DiffOrder:
    return DiffOrder(
        order_id="d",
        older_seq=1,
        newer_seq=2,
        older=older,
        newer=newer,
        after=after,
        limit=limit,
    )


def told(found: SaveDiff) -> list[tuple[str, str, int, int]]:
    """Without the root, whose attributes no test means."""
    return [(c.path, str(c.change), c.old_bytes, c.new_bytes) for c in found.changes]


@pytest.fixture
async def two(registry: Registry, box: Overlay, tmp_path: Path) -> tuple[Image, Image]:
    """A base with some files, a save with changes, and a second save after more of them."""
    for name, text in (("kept", "k"), ("gone", "g"), ("base-edit", "b"), ("tree/a", "aa")):
        path = box.base / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (box.base / "tree/b").write_text("b")
    base = await push_base(registry, "runtimes/compare", box.base)
    box.mount()
    root = box.merged
    (root / "first").write_text("1")
    (root / "same-size").write_text("abc")
    (root / "touched").write_text("t")
    (root / "linked").write_text("l")
    (root / "early").write_text("e")
    index = tmp_path / "index"
    saved = order(box.upper, base, index, uid="cmp", tags=("save-1",))
    one = (await save(registry, saved)).image
    stat = (root / "same-size").stat()
    (root / "same-size").write_text("xyz")
    os.utime(root / "same-size", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(root / "touched", ns=(1, 1))
    os.link(root / "linked", root / "linked-too")
    (root / "early").unlink()
    (root / "gone").unlink()
    (root / "base-edit").write_text("longer")
    shutil.rmtree(root / "tree")
    (root / "tree").mkdir()
    (root / "tree/c").write_text("ccc")
    (root / "kept").chmod(0o600)
    saved = order(box.upper, base, index, uid="cmp", tags=("save-2",))
    two = (await save(registry, saved)).image
    return one, two


EXPECTED = [
    ("/base-edit", "changed", 1, 6),
    ("/early", "deleted", 1, 0),
    ("/gone", "deleted", 1, 0),
    ("/kept", "changed", 1, 1),
    ("/linked-too", "added", 0, 1),
    ("/same-size", "changed", 3, 3),
    ("/tree/a", "deleted", 2, 0),
    ("/tree/b", "deleted", 1, 0),
    ("/tree/c", "added", 0, 3),
]


async def test_every_difference_is_told_and_nothing_else(
    registry: Registry, two: tuple[Image, Image]
) -> None:
    one, other = two
    found = await diff(registry, question(one, other))
    assert told(found) == EXPECTED
    assert (found.added, found.changed, found.deleted, found.next_after) == (2, 3, 4, "")
    back = await diff(registry, question(other, one))
    turned = {"added": "deleted", "deleted": "added", "changed": "changed"}
    assert told(back) == [(p, turned[c], new, old) for p, c, old, new in EXPECTED]
    assert told(await diff(registry, question(one, one))) == []


async def test_a_full_layer_compares_as_an_incremental_one(
    registry: Registry, two: tuple[Image, Image], box: Overlay, tmp_path: Path
) -> None:
    one, other = two
    runtime = await push_base(registry, "runtimes/compare", box.base)
    fresh = order(box.upper, runtime, tmp_path / "fresh", uid="cmp", tags=("save-3",))
    full = (await save(registry, fresh)).image
    assert told(await diff(registry, question(other, full))) == []
    assert told(await diff(registry, question(one, full))) == EXPECTED


async def test_pages_join_to_the_whole(registry: Registry, two: tuple[Image, Image]) -> None:
    joined: list[tuple[str, str, int, int]] = []
    after = ""
    while True:
        found = await diff(registry, question(*two, after=after, limit=4))
        joined += told(found)
        assert found.added + found.changed + found.deleted == len(EXPECTED)
        after = found.next_after
        if not after:
            break
    assert joined == EXPECTED


async def test_the_worker_answers_and_tells_what_is_missing(
    registry: Registry, two: tuple[Image, Image]
) -> None:
    found = await ask_worker(registry.base_url, question(*two))
    assert told(found) == EXPECTED
    lost = Image(repository="projects/cmp", digest="sha256:" + "0" * 64, architecture="amd64")
    with pytest.raises(NotFound):
        await ask_worker(registry.base_url, question(lost, two[1]))
