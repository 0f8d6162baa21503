"""A node's boxes are measured on the disk; the full one is told to the controller."""

import os
from pathlib import Path

import pytest

from devbox.edge.space import Space
from devbox.model.nodes import OverQuota, QuotaRule
from devbox.model.projects import Image
from devbox.model.saves import UpperState
from node_agent.collector.measuring import bytes_below
from node_agent.journal import Box, Journal, Upper
from node_agent.quota import watching
from node_agent.quota.watching import Quotas

MIB = 1 << 20
IMAGE = Image(repository="runtimes/x", digest="sha256:" + "a" * 64, architecture="amd64")


class Node:
    """One node; its disk is told to lose what is written."""

    def __init__(self, root: Path) -> None:
        self.journal = Journal.open(root / "journal.db")
        self.root = root
        self.free = 1000 * MIB
        self.full: list[OverQuota] = []
        self.told: list[tuple[int, str]] = []
        self.shells = 1
        self.now = 100.0
        self.quotas = Quotas(self.journal, self, bytes_below, self.look, self.full.append)

    def look(self) -> Space:
        return Space(free=self.free, total=2000 * MIB)

    async def first_process(self, container_id: str) -> int | None:
        return 17

    def tell_shells(self, pid: int, text: str) -> int:
        self.told.append((pid, text))
        return self.shells

    def box(self, uid: str) -> Path:
        """A running box, and its upper."""
        path = self.root / uid / "fs"
        path.mkdir(parents=True)
        self.journal.put_upper(
            Upper(
                project_uid=uid,
                path=str(path),
                image=IMAGE,
                chain_id="x",
                generation=1,
                state=UpperState.DIRTY,
            )
        )
        self.journal.link_box(Box(f"c-{uid}", "s", "pod", uid, 1))
        return path

    def write(self, path: Path, mib: int) -> None:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, mib * MIB)
        self.free -= mib * MIB

    async def later(self, *rules: QuotaRule, seconds: float = 2.0) -> None:
        self.now += seconds
        await self.quotas.look(rules)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    made = Node(tmp_path)
    monkeypatch.setattr(watching, "_now", lambda: made.now)
    monkeypatch.setattr(watching, "tell_shells", made.tell_shells)
    return made


def rule(uid: str, mib: int, generation: int = 1) -> QuotaRule:
    return QuotaRule(project_uid=uid, generation=generation, bytes=mib * MIB)


async def test_a_box_is_warned_then_full_and_others_go_on(node: Node) -> None:
    one, other = node.box("one"), node.box("other")
    rules = (rule("one", 40), rule("other", 40))
    await node.later(*rules)
    node.write(one / "a", 37)
    node.write(other / "a", 5)
    await node.later(*rules)
    ((pid, said),) = node.told
    assert pid == 17
    assert "0.04 of the 0.04 GiB" in said
    assert "no file is lost" in said
    await node.later(*rules, seconds=20.0)
    assert len(node.told) == 1, "once"
    node.write(one / "b", 4)
    await node.later(*rules)
    (over,) = node.full
    assert (over.project_uid, over.generation, over.quota_bytes) == ("one", 1, 40 * MIB)
    assert over.used_bytes >= 41 * MIB


async def test_a_warning_that_nobody_heard_is_told_again(node: Node) -> None:
    node.shells = 0
    node.write(node.box("one") / "a", 182)
    for _ in range(2):
        await node.later(rule("one", 200), seconds=20.0)
    assert len(node.told) == 2
    node.shells = 1
    for _ in range(2):
        await node.later(rule("one", 200), seconds=20.0)
    assert len(node.told) == 3


async def test_a_box_that_is_not_watched_or_does_not_run_is_not_measured(node: Node) -> None:
    node.write(node.box("one") / "a", 40)
    await node.later(rule("one", 0), rule("nobody", 1))
    node.journal.box_ended("c-one")
    await node.later(rule("one", 20))
    assert (node.told, node.full) == ([], [])


async def test_a_new_start_begins_anew_and_a_raised_quota_counts_at_once(node: Node) -> None:
    one = node.box("one")
    await node.later(rule("one", 30))
    node.write(one / "a", 31)
    await node.later(rule("one", 30))
    assert len(node.full) == 1
    await node.later(rule("one", 60), seconds=20.0)
    assert len(node.full) == 1
    await node.later(rule("one", 30, generation=2), seconds=20.0)
    assert len(node.full) == 1, "it has room to be tidied in"
    node.write(one / "b", 17)
    await node.later(rule("one", 30, generation=2))
    assert [over.generation for over in node.full] == [1, 2]


async def test_a_tree_that_cannot_be_measured_stops_nothing(node: Node) -> None:
    path = node.box("one")
    path.rmdir()
    await node.later(rule("one", 30))
    assert node.full == []
