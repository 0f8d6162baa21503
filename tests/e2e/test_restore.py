"""Back to an earlier save and forth again, and copies of it, on the real parts."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.person import Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("restore") / "home", server.root)
    person.ok("create", "twice", "--runtime", "python", timeout=280)
    yield person
    for name in ("copy", "twice"):
        person.devbox("delete", name, "--yes")


def write(me: Person, text: str, project: str = "twice") -> None:
    me.sh(project, f"cd /project && rm -f only-* && echo {text} | tee f > only-{text}")


def read(me: Person, project: str = "twice") -> list[str]:
    return me.sh(project, "cd /project && cat f && ls only-*").split()


def saves(me: Person) -> list[dict[str, Any]]:
    return list(me.json("saves", "twice")["saves"])


def test_a_restore_brings_old_files_back_and_loses_no_new_ones(me: Person, server: Server) -> None:
    write(me, "v1")
    first = me.json("save", "twice")["seq"]
    write(me, "v2")
    restored = me.json("restore", "twice", str(first))
    assert read(me) == ["v1", "only-v1"]
    assert (restored["reason"], restored["step"]) == ("restored", "recorded")
    newest, present, *_ = saves(me)
    assert (newest["seq"], newest["digest"]) == (restored["seq"], restored["digest"])
    assert me.json("show", "twice")["status"]["head_seq"] == restored["seq"]
    found = me.json("saves", "diff", "twice", str(first), str(present["seq"]))
    project = [c for c in found["changes"] if c["path"].startswith("/project/")]
    assert [(c["path"], c["change"]) for c in project] == [
        ("/project/f", "changed"),
        ("/project/only-v1", "deleted"),
        ("/project/only-v2", "added"),
    ]
    assert me.json("saves", "diff", "twice", str(first))["changes"] == []
    me.ok("restore", "twice", str(present["seq"]))
    assert read(me) == ["v2", "only-v2"]
    uid = me.json("show", "twice")["uid"]
    assert [path.name for path in server.layout.uppers.glob(f"{uid}*")] == [uid]


def test_a_stopped_project_stays_stopped_and_its_next_saves_go_on_from_there(me: Person) -> None:
    first = min(save["seq"] for save in saves(me) if save["step"] == "recorded")
    me.ok("stop", "twice", "--wait")
    restored = me.json("restore", "twice", str(first))
    assert me.json("show", "twice")["status"]["phase"] == "stopped"
    me.ok("start", "twice")
    assert read(me) == ["v1", "only-v1"]
    write(me, "v3")
    later = me.json("save", "twice")
    assert later["seq"] > restored["seq"]
    assert me.json("show", "twice")["status"]["head_seq"] == later["seq"]


def test_a_clone_has_the_files_of_now_and_is_another_project(me: Person) -> None:
    write(me, "v4")
    made = me.json("clone", "twice", "copy")
    assert read(me, "copy") == ["v4", "only-v4"]
    assert made["project"]["host_key"] != me.json("show", "twice")["host_key"]
    write(me, "v5", "copy")
    assert read(me) == ["v4", "only-v4"]
