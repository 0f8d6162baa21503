"""A full disk, and a registry that fails in every way: the save says so, and is made later."""

import subprocess
from pathlib import Path

import pytest

from devbox.model.projects import Image
from devbox.model.saves import Save, SaveStep
from tests.support.bad_registry import MODES, bad_registry
from tests.support.disks import small_disk
from tests.support.life import Life
from tests.support.node_parts import NodeParts

pytestmark = pytest.mark.root
UID = "p1"
KEPT = "; the files are kept on the node, next try in "
SENTENCES = {
    "500": "the registry answered 500 to ",
    "401": "the registry answered 401 to ",
    "truncated": "the registry at http://127.0.0.1",
    "damaged": "the registry got other bytes than were sent",
}


async def failed(parts: NodeParts, seq: int = 1) -> Save:
    """The save, once the controller heard that it failed."""

    def told() -> bool:
        save = parts.controller.saves.get((UID, seq))
        return save is not None and save.step is SaveStep.FAILED

    await parts.until(told, "a save failed")
    return parts.controller.saves[UID, seq]


async def check(parts: NodeParts, life: Life, out: Path) -> None:
    """All is saved, once, and nothing is left over."""
    await parts.settled(UID)
    await parts.check_files(await parts.check_whole(UID), life.upper, out)
    assert len(parts.controller.recorded(UID)) == 1
    parts.kill_agent()
    parts.check_registry_clean()
    parts.check_uppers_clean({UID})


@pytest.mark.parametrize("mode", MODES)
async def test_a_registry_that_fails(parts: NodeParts, base: Image, work: Path, mode: str) -> None:
    async with bad_registry(parts.registry.url) as door:
        parts.layout.settings.write_text(f"registry_port = {door.port}\n")
        life = Life(parts, base)
        life.live("word", size=100_000)
        door.turn(mode)
        parts.start_agent()
        if mode == "hanging":
            await door.misbehaved.wait()
        else:
            save = await failed(parts)
            assert save.note.startswith(SENTENCES[mode])
            assert KEPT in save.note
        door.turn("")
        await check(parts, life, work / "out")


async def test_a_registry_that_is_down(parts: NodeParts, base: Image, work: Path) -> None:
    life = Life(parts, base)
    life.live("word")
    parts.registry.kill()
    parts.start_agent()
    save = await failed(parts)
    assert "does not answer (connection refused)" in save.note
    assert KEPT in save.note
    parts.registry.start()
    await check(parts, life, work / "out")


async def test_the_registrys_disk_is_full(parts: NodeParts, base: Image, work: Path) -> None:
    """What the failed tries had sent takes no space from the one that succeeds."""
    uploads = parts.layout.registry / "docker"
    kept = work / "kept"
    uploads.rename(kept)
    with small_disk(uploads, mebibytes=12) as disk:
        subprocess.run(["cp", "-a", f"{kept}/.", uploads], check=True)
        disk.fill(leave=4 << 20)
        life = Life(parts, base)
        life.live("word", size=6 << 20)
        parts.start_agent()
        save = await failed(parts)
        assert save.note.startswith("the registry's disk is full; the files are kept on the node")
        disk.free()
        await check(parts, life, work / "out")
        parts.registry.kill()


async def test_the_nodes_disk_is_full(parts: NodeParts, base: Image, work: Path) -> None:
    """The journal takes nothing: no save goes on, none is lost, and the node agent stays."""
    node = parts.layout.journal.parent
    life = Life(parts, base)
    parts.journal.close()
    kept = work / "kept"
    node.rename(kept)
    with small_disk(node, mebibytes=4) as disk:
        subprocess.run(["cp", "-a", f"{kept}/.", node], check=True)
        parts.open_journal()
        life.live("word", size=100_000)
        disk.fill()
        agent = parts.start_agent()
        await parts.until(lambda: "disk is full" in parts.log(), "the node agent finds it full")
        assert agent.poll() is None
        assert parts.controller.recorded(UID) == []
        disk.free()
        await check(parts, life, work / "out")
        assert agent.poll() is not None
        parts.journal.close()
    node.mkdir(exist_ok=True)
    parts.open_journal()
