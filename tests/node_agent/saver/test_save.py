"""Saves of real overlay uppers, unpacked by programs that share nothing with ours."""

import os
import subprocess
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.model.errors import Conflict
from node_agent.saver.orders import SavedImage
from tests.node_agent.saver.saves import order, save
from tests.support.overlays import Overlay, overlay
from tests.support.saved_images import layers, push_base, unpack_with_umoci
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
ACL = bytes.fromhex(
    "0200000001000600ffffffff02000700e803000004000400ffffffff10000700ffffffff20000400ffffffff"
)


class Story:
    """A box, its saves, and a check that the newest image is what the box sees."""

    def __init__(self, box: Overlay, registry: Registry, directory: Path, uid: str) -> None:
        self.box = box
        self.registry = registry
        self.directory = directory
        self.uid = uid
        self.saves: list[SavedImage] = []

    async def begin(self) -> None:
        self.base = await push_base(self.registry, f"runtimes/{self.uid}", self.box.base)
        status = self.box.base.stat()
        self.box.mount()
        os.utime(self.box.merged, ns=(status.st_atime_ns, status.st_mtime_ns))

    async def save(self, **more: object) -> SavedImage:
        known = self.saves[-1].image.digest if self.saves else ""
        given = {"known": known, **more}
        ordered = order(self.box.upper, self.base, self.directory / "index", self.uid, **given)
        self.saves.append(await save(self.registry, ordered))
        return self.saves[-1]

    async def check(self) -> None:
        number = len(self.saves)
        image = self.saves[-1].image
        unpacked = await unpack_with_umoci(
            self.registry, image, self.directory / f"unpacked-{number}"
        )
        assert differences(facts(self.box.merged), facts(unpacked)) == []
        for raw in await layers(self.registry, image):
            listed = subprocess.run(["tar", "-tf", "-"], input=raw, check=True, capture_output=True)
            names = listed.stdout.splitlines()
            assert len(names) == len(set(names))


@pytest.fixture
async def story(box: Overlay, registry: Registry, tmp_path: Path) -> Story:
    for name in ("kept", "gone", "edited", "dir/inside", "dir/also", "tree/a/b/c"):
        path = box.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"base {name}")
    return Story(box, registry, tmp_path, tmp_path.name.replace("_", "-").lower())


def fill(root: Path) -> None:
    (root / "gone").unlink()
    (root / "edited").write_text("new")
    (root / "new").write_bytes(b"x" * 5000)
    os.link(root / "new", root / "new-link")
    os.symlink("anywhere/" + "far" * 60, root / "symlink")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o20600, os.makedev(5, 300))
    (root / "dir" / "inside").unlink()
    os.setxattr(root / "new", "user.note", b"a\0b\nc")
    os.chown(root / "new", 4_000_000, 70_000)
    os.setxattr(root / "new", "security.capability", CAP_NET_RAW)
    os.setxattr(root / "edited", "system.posix_acl_access", ACL)
    (root / ("long" * 50)).mkdir()
    (root / ("long" * 50) / ("name" * 60)).write_text("deep")
    Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff\xfe")).write_text("bytes")
    (root / "modes").mkdir(mode=0o1777)
    os.chmod(root / "modes", 0o3775)
    os.utime(root / "edited", ns=(1, 987_654_321_123_456_789))


@pytest.mark.smoke
async def test_everything_a_file_has_survives(story: Story) -> None:
    await story.begin()
    fill(story.box.merged)
    saved = await story.save()
    assert saved.changed
    assert saved.layers == 1
    await story.check()


async def test_an_unchanged_box_makes_no_layer(story: Story) -> None:
    await story.begin()
    fill(story.box.merged)
    first = await story.save()
    os.setxattr(story.box.upper, "user.devbox.upper", b"another start")
    again = await story.save(tags=("save-2",))
    assert not again.changed
    assert again.image == first.image
    assert again.new_bytes == 0


async def test_what_nobody_asked_for_pushes_nothing_without_a_change(story: Story) -> None:
    await story.begin()
    fill(story.box.merged)
    await story.save(tags=("save-1",), only_changes=True)
    assert not (await story.save(tags=("save-2",), only_changes=True)).changed
    assert await story.registry.tags(f"projects/{story.uid}") == ("save-1",)


async def test_an_image_that_nobody_heard_of_counts_as_changed(story: Story) -> None:
    """A kill came after the index was stored and before the node agent noted the save."""
    await story.begin()
    fill(story.box.merged)
    lost = await story.save()
    again = await story.save(known="")
    assert again.changed
    assert again.image == lost.image
    assert not (await story.save()).changed


async def test_on_kernels_with_coarse_times_young_files_are_taken_again(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_agent.saver.save._FINE_TIMES", False)
    monkeypatch.setattr("node_agent.saver.save._TICK_NS", 3600 * 10**9)
    await story.begin()
    fill(story.box.merged)
    await story.save()
    assert (await story.save()).changed
    await story.check()


async def test_the_same_tree_gives_the_same_digest(story: Story) -> None:
    await story.begin()
    fill(story.box.merged)
    first = await story.save(full=True)
    assert (await story.save(full=True)).image == first.image
    other = story.directory / "copy"
    subprocess.run(["cp", "-a", story.box.upper, other], check=True)
    again = order(other, story.base, story.directory / "other", story.uid)
    assert (await save(story.registry, again)).image == first.image


async def test_times_that_no_clock_of_64_bits_tells_survive(story: Story) -> None:
    """Read by GNU tar: umoci's clock ends in 2262."""
    await story.begin()
    times = {"early": -5_000 * 10**9 + 5, "late": 15_000_000_000 * 10**9 + 5}
    for name, ns in times.items():
        (story.box.merged / name).write_text(name)
        os.utime(story.box.merged / name, ns=(0, ns))
    saved = await story.save()
    raw = (await layers(story.registry, saved.image))[-1]
    subprocess.run(["tar", "-C", story.directory, "-xf", "-"], input=raw, check=True)
    assert {name: (story.directory / name).stat().st_mtime_ns for name in times} == times
    assert not (await story.save()).changed


async def test_the_next_layer_holds_only_what_changed(story: Story) -> None:
    await story.begin()
    root = story.box.merged
    fill(root)
    (root / "ballast").write_bytes(os.urandom(1 << 20))
    await story.save()
    (root / "kept").unlink()
    (root / "new").unlink()
    (root / "tree" / "a" / "b" / "c").write_text("deep change")
    saved = await story.save()
    assert saved.layers == 2
    assert saved.new_bytes < 10_000
    await story.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: _rewrite_unseen(root / "new"),
        lambda root: os.chown(root / "modes", 5, 6),
        lambda root: os.setxattr(root / "new", "user.note", b"other"),
        lambda root: os.removexattr(root / "new", "security.capability"),
        lambda root: os.unlink(root / "new-link"),
        lambda root: os.link(root / "new", root / "dir" / "third"),
        lambda root: (root / "new").rename(root / "renamed"),
        lambda root: (root / "new").rename(root / "gone"),
        lambda root: _swap(root / "new", root / "edited"),
        lambda root: _dir_to_file_and_back(root),
    ],
)
async def test_changes_that_are_easily_missed(story: Story, change) -> None:  # type: ignore[no-untyped-def]
    await story.begin()
    fill(story.box.merged)
    await story.save()
    change(story.box.merged)
    assert (await story.save()).changed
    await story.check()


def _rewrite_unseen(path: Path) -> None:
    """Same size, same mtime."""
    status = path.stat()
    path.write_bytes(b"y" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _swap(one: Path, two: Path) -> None:
    other = one.with_name("between")
    one.rename(other)
    two.rename(one)
    other.rename(two)


def _dir_to_file_and_back(root: Path) -> None:
    subprocess.run(["rm", "-r", root / "dir", root / "tree"], check=True)
    (root / "dir").write_text("now a file")
    (root / "tree").mkdir()
    (root / "tree" / "fresh").write_text("opaque")


async def test_an_opaque_directory_stays_opaque_over_later_layers(story: Story) -> None:
    await story.begin()
    root = story.box.merged
    await story.save()
    _dir_to_file_and_back(root)
    await story.save()
    await story.check()
    (root / "tree" / "more").write_text("later")
    (root / "dir").unlink()
    (root / "dir").mkdir()
    saved = await story.save()
    assert saved.layers == 3
    await story.check()


async def test_mount_stubs_and_sockets_stay_out(story: Story, box: Overlay) -> None:
    await story.begin()
    (box.merged / "etc").mkdir()
    for name in ("dev/shm", "proc", "sys", ".devbox/box"):
        (box.merged / name).mkdir(parents=True)
    for name in ("hosts", "resolv.conf", "hostname"):
        (box.merged / "etc" / name).touch()
    (box.merged / "etc" / "real").write_text("kept")
    os.mknod(box.merged / "socket", 0o140600)
    await story.save()
    unpacked = await unpack_with_umoci(
        story.registry, story.saves[-1].image, story.directory / "out"
    )
    names = set(os.listdir(unpacked)) - set(os.listdir(box.base))
    assert names == {"etc"}
    assert os.listdir(unpacked / "etc") == ["real"]


async def test_small_holes_are_zeros_and_huge_ones_are_kept_and_told(story: Story) -> None:
    await story.begin()
    with (story.box.merged / "small").open("wb") as file:
        file.write(b"begin")
        file.seek(30 << 20)
        file.write(b"end")
        file.truncate(40 << 20)
    await story.save()
    await story.check()
    with (story.box.merged / "huge").open("wb") as file:
        file.seek(1 << 40)
        file.write(b"end")
    saved = await story.save()
    assert saved.new_bytes < 10_000
    assert saved.upper_bytes < 50 << 20
    _, document = await story.registry.image(saved.image.repository, saved.image.digest)
    assert "/huge" not in document.manifest.annotations
    assert '"huge"' in document.manifest.annotations["dev.devbox.sparse"]
    out = story.directory / "gnu"
    out.mkdir()
    raw = (await layers(story.registry, saved.image))[-1]
    subprocess.run(["tar", "-C", out, "-xSf", "-"], input=raw, check=True)
    assert (out / "huge").stat().st_size == (1 << 40) + 3
    assert (out / "huge").stat().st_blocks < 100
    (story.box.merged / "huge").unlink()
    saved = await story.save()
    _, document = await story.registry.image(saved.image.repository, saved.image.digest)
    assert "dev.devbox.sparse" not in document.manifest.annotations
    assert all(b"huge" not in raw for raw in await layers(story.registry, saved.image))


async def test_names_that_mean_deletions_are_told(story: Story) -> None:
    await story.begin()
    (story.box.merged / "new").write_text("x")
    (story.box.upper / ".wh.kept").write_text("a real file")
    saved = await story.save()
    assert "/.wh.kept" in saved.note


async def test_redirected_directories_are_refused(story: Story) -> None:
    await story.begin()
    os.setxattr(story.box.upper / "", "trusted.overlay.redirect", b"elsewhere")
    with pytest.raises(Conflict, match="redirect_dir"):
        await story.save()


async def test_too_much_dead_weight_makes_one_full_layer(story: Story) -> None:
    await story.begin()
    for _ in range(4):
        (story.box.merged / "log").write_bytes(os.urandom(2 << 20))
        saved = await story.save()
        assert saved.layers == 1
        assert saved.total_bytes < 1.3 * (2 << 20) + 10_000
    await story.check()


async def test_many_saves_end_with_few_layers(story: Story) -> None:
    await story.begin()
    for number in range(30):
        (story.box.merged / f"file-{number}").write_text(str(number))
        await story.save()
    assert story.saves[-1].layers <= 12
    await story.check()


async def test_a_long_chain_of_saves_without_their_upper_is_merged(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_agent.saver.save.MOST_LAYERS", 4)
    await story.begin()
    fill(story.box.merged)
    for number in range(4):
        (story.box.merged / f"file-{number}").write_text(str(number))
        (story.box.merged / f"file-{number - 1}").unlink(missing_ok=True)
        await story.save()
    _dir_to_file_and_back(story.box.merged)
    saved = await story.save()
    root = await unpack_with_umoci(story.registry, saved.image, story.directory / "restored")
    with overlay(story.directory / "second") as box:
        box.base.rmdir()
        root.rename(box.base)
        box.mount()
        times = box.base.stat()
        (box.merged / "tree" / "fresh").unlink()
        (box.merged / "after").write_text("the restore")
        os.utime(box.merged, ns=(times.st_atime_ns, times.st_mtime_ns))
        second = Story(box, story.registry, story.directory / "second", story.uid)
        second.base = saved.image
        again = await second.save()
        assert again.layers == 2
        await second.check()
        (box.merged / "after").write_text("more")
        assert (await second.save()).layers == 3
        await second.check()


async def test_a_lost_or_damaged_index_makes_a_full_layer(story: Story) -> None:
    await story.begin()
    fill(story.box.merged)
    first = await story.save()
    index = story.directory / "index"
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    (story.box.merged / "more").write_text("more")
    saved = await story.save()
    assert saved.layers == first.layers == 1
    await story.check()


async def test_excluded_paths_are_in_no_layer(story: Story) -> None:
    await story.begin()
    (story.box.merged / "cache").mkdir()
    (story.box.merged / "cache" / "secret").write_text("hunter2")
    await story.save()
    saved = await story.save(exclude=("/cache",))
    assert saved.layers == 1
    assert all(b"hunter2" not in raw for raw in await layers(story.registry, saved.image))
