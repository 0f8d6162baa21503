"""Who uses the disk, and a box that writes all that it may, on the real parts."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.person import DEVBOX, Person
from tests.support.server import Server
from tests.support.terminal import terminal

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
MIB = 1 << 20
NAME = "writer"


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("disk") / "home", server.root)
    person.ok("create", NAME, "--runtime", "python", "--quota", "100M", timeout=280)
    yield person
    person.devbox("delete", NAME, "--yes")


def used(me: Person, name: str = NAME) -> dict[str, Any]:
    """What `devbox disk` tells of a project."""
    found = me.json("disk")["projects"]
    return next(dict(one) for one in found if one["name"] == name)


def status(me: Person) -> dict[str, Any]:
    return dict(me.json("show", NAME)["status"])


def until_failed(me: Person) -> str:
    deadline = time.monotonic() + 120
    while (now := status(me))["phase"] != "failed":
        assert time.monotonic() < deadline, now
        time.sleep(0.2)
    return str(now["message"])


def test_the_disk_is_told_by_project_and_everything_is_counted_once(me: Person) -> None:
    write = "head -c 20M /dev/urandom > /project/data"
    me.sh(NAME, write)
    before = me.json("disk")
    me.ok("save", NAME)
    me.sh(NAME, "head -c 8M /dev/urandom > /project/more")
    me.ok("release", NAME, "v1")
    after = used(me)
    assert after["kept"] == "in use"
    assert 28 * MIB <= after["changed_bytes"] < 32 * MIB
    assert 28 * MIB <= after["releases_bytes"] + after["saves_bytes"] < 32 * MIB
    assert after["releases_bytes"] >= 28 * MIB, "both layers are the release's"
    now = me.json("disk")
    assert now["runtimes"] == before["runtimes"], "what a project starts from is not its own"
    assert NAME in me.ok("disk")


def test_a_shell_is_told_at_nine_tenths_and_a_full_box_is_stopped_with_every_file(
    me: Person,
) -> None:
    with terminal(str(DEVBOX), "ssh", NAME, env={**me.env, "TERM": "xterm"}) as shell:
        shell.type("echo rea''dy\n")
        shell.until("ready")
        shell.type("fallocate -l 65M /project/big; sync\n")
        shell.until("*** devbox: this box has written 0.09 of the 0.10 GiB")
        assert status(me)["phase"] == "running"
        shell.type("fallocate -l 10M /project/last; sync\n")
        message = until_failed(me)
    assert "may write 0.10 GiB. Every file is kept and saved." in message
    refused = me.devbox("ssh", NAME, "--", "true")
    assert refused.status != 0
    assert "may write 0.10 GiB" in refused.err, "connecting starts no full box"
    me.ok("start", NAME)
    assert me.sh(NAME, "cd /project && stat -c %s data more big last").split() == [
        str(count * MIB) for count in (20, 8, 65, 10)
    ]
    me.sh(NAME, "rm /project/big /project/last && echo kept > /project/note")
    me.ok("stop", NAME, "--wait")
    assert used(me)["kept"] == "cache"
    assert used(me)["changed_bytes"] < 32 * MIB


def test_a_raised_quota_counts_at_once(me: Person) -> None:
    me.ok("start", NAME)
    me.ok("edit", NAME, "--quota", "400M")
    me.sh(NAME, "fallocate -l 150M /project/big; sync; sleep 5")
    assert status(me)["phase"] == "running"
    assert "400 MiB" in me.ok("show", NAME)


def test_a_deleted_project_leaves_nothing_behind(me: Person, server: Server) -> None:
    uid = me.json("show", NAME)["uid"]
    me.ok("delete", NAME, "--yes")
    deadline = time.monotonic() + 120
    while uid in json.dumps(me.json("disk")["projects"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert not list(server.layout.uppers.glob(f"{uid}*"))
    assert not list(server.layout.registry.rglob(f"projects/{uid}"))
