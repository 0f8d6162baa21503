"""A file that is nearly all hole: cheap everywhere, and no start from the registry fills a disk."""

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.blows import Machine
from tests.support.person import Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
NAME = "holey"
_MIB = 1 << 20


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("holes") / "home", server.root)
    person.ok("create", NAME, "--runtime", "python", "--autosave", "0", timeout=280)
    yield person
    person.devbox("delete", NAME, "--yes")


def wait_until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_huge_hole_costs_little_and_is_refused_by_name_where_it_would_be_written(
    me: Person, server: Server
) -> None:
    machine = Machine(server.layout, server.settings.registry_port)
    me.sh(NAME, "cd /project && truncate -s 1T disk && echo end >> disk && echo kept > f")
    saved = me.json("save", NAME)
    assert (saved["new_bytes"] < _MIB, saved["note"]) == (True, "")
    me.sh(NAME, "echo more >> /project/f; echo END | dd of=/project/disk bs=1 seek=1T conv=notrunc")
    assert me.json("save", NAME)["new_bytes"] < _MIB
    assert me.json("show", NAME)["status"]["upper_bytes"] < 64 * _MIB
    assert me.sh(NAME, "stat -c %s /project/disk; tail -c 4 /project/disk").split() == [
        str((1 << 40) + 4),
        "END",
    ]
    me.ok("stop", NAME, "--wait")
    machine.forget_everything_local(me.json("show", NAME)["uid"])
    wait_until(lambda: not me.json("show", NAME)["status"]["upper_node"])
    before = shutil.disk_usage(server.root).free
    said = me.devbox("start", NAME, timeout=200)
    assert said.status != 0
    told = " ".join((said.out + said.err).split())
    assert "/project/disk has large holes" in told
    assert "Nothing is lost" in told
    assert shutil.disk_usage(server.root).free > before - (1 << 30)
    me.devbox("stop", NAME)
