"""The writer on a real registry: what devbox.yaml leaves out is in no blob of a release."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from devbox.model.projects import Image, WhenBusy
from devbox.model.saves import SaveStep, UpperState
from node_agent.agent.parts import CannotRelease, SavedImage, SaveWork
from node_agent.journal import Upper
from node_agent.saver import Saver
from node_agent.saver.writer import RegistryWriter
from tests.support.saved_images import layers, push_base

UID = "w1"


class Project:
    """An upper whose files the test writes, and its saves."""

    def __init__(self, writer: RegistryWriter, upper: Path, base: Image) -> None:
        self.writer = writer
        self.base = base
        self.home = upper / "project"
        self._upper = upper
        self._seq = 0

    async def save(self, *tags: str) -> SavedImage:
        self._seq += 1
        upper = Upper(
            project_uid=UID,
            path=str(self._upper),
            image=self.base,
            chain_id="x",
            generation=1,
            state=UpperState.DIRTY,
        )
        work = SaveWork(
            upper=upper, seq=self._seq, tags=tags, cgroup=None, when_busy=WhenBusy.RETRY
        )

        def on_step(step: SaveStep) -> None:
            """Nobody records it."""

        return await self.writer.save(work, on_step, lambda done, expected: None)


@pytest.fixture
async def project(registry: Registry, tmp_path: Path) -> AsyncIterator[Project]:
    tree = tmp_path / "base"
    tree.mkdir()
    base = await push_base(registry, f"projects/{UID}", tree)
    stored = await registry.get_manifest(base.repository, base.digest)
    await registry.put_manifest(base.repository, stored.raw, stored.media_type, "base")
    layout = Layout(data=tmp_path / "data", run=tmp_path / "run")
    layout.indexes.mkdir(parents=True)
    (tmp_path / "fs" / "project").mkdir(parents=True)
    async with Saver(registry) as saver:
        writer = RegistryWriter(registry, saver, layout, ServerSettings())
        yield Project(writer, tmp_path / "fs", base)


async def holds(registry: Registry, saved: SavedImage, text: bytes) -> bool:
    return any(text in raw for raw in await layers(registry, saved.image))


async def test_a_release_is_without_secrets_and_the_next_save_has_them_again(
    project: Project, registry: Registry
) -> None:
    (project.home / ".env").write_text("hunter2")
    (project.home / "cache").mkdir()
    (project.home / "cache" / "big").write_text("made again")
    (project.home / "code").write_text("code")
    (project.home / "devbox.yaml").write_text(
        "saves: {exclude: [cache]}\nreleases: {exclude: [.env]}\n"
    )
    first = await project.save()
    assert not first.partial
    assert await holds(registry, first, b"hunter2")
    assert not await holds(registry, first, b"made again")
    release = await project.save("release-v1")
    assert release.partial
    for left_out in (b"hunter2", b"made again", b"project/.env"):
        assert not await holds(registry, release, left_out)
    assert await holds(registry, release, b"code")
    later = await project.save()
    assert (later.changed, later.partial) == (True, False)
    assert await holds(registry, later, b"hunter2")


async def test_no_release_where_the_secret_may_lie_below(
    project: Project, registry: Registry
) -> None:
    (project.home / ".env").write_text("hunter2")
    (project.home / "devbox.yaml").write_text("releases: {exclude: [.env]}\n")
    saved = await project.save()
    (project.home / "devbox.yaml").unlink()
    (project.home / ".env").unlink()
    with pytest.raises(CannotRelease):
        await project.writer.tag(saved.image, ("release-v2",))
    project.base = saved.image
    with pytest.raises(CannotRelease):
        await project.save("release-v2")
    assert "release-v2" not in await registry.tags(f"projects/{UID}")
    assert not (await project.save()).partial


async def test_a_file_that_cannot_be_understood_is_noted_and_releases_nothing(
    project: Project,
) -> None:
    (project.home / "devbox.yaml").write_text("releases: {exclude: [")
    saved = await project.save()
    assert "devbox.yaml cannot be understood" in saved.note
    with pytest.raises(CannotRelease, match="none was made"):
        await project.save("release-v1")
