"""The main job, end to end, on the real parts, with the real OpenSSH client.

The tests of this file tell one story and run in order.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.e2e.blows import Machine
from tests.support.person import DEVBOX, Person
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

WORK = r"""
set -e
apt="sudo apt-get -qq -o Acquire::Retries=5 -o Acquire::http::Timeout=20"
$apt update >/dev/null
$apt install -y --no-install-recommends tree >/dev/null
cd /project
printf 'print(6 * 7)\n' > answer.py && chmod 750 answer.py
ln -s answer.py link && ln answer.py hard
python3 -c "import os; os.setxattr('answer.py', 'user.note', b'kept')"
sudo rm -rf /usr/share/doc/base-files
sudo mkdir -m 1770 /srv/shared && sudo chown 0:1000 /srv/shared
printf 'odd' > "$(printf 'na\303\257ve name')"
"""
LOOK = r"""
cd /project
python3 answer.py
stat -c '%n %a %h %s' answer.py link hard
readlink link
python3 -c "import os; print(os.getxattr('answer.py', 'user.note').decode())"
test -e /usr/share/doc/base-files && echo there || echo gone
stat -c '%a %u %g' /srv/shared
command -v tree
cat na*
"""
SEEN = [
    "42",
    "answer.py 750 2 13",
    "link 777 1 9",
    "hard 750 2 13",
    "answer.py",
    "kept",
    "gone",
    "1770 0 1000",
    "/usr/bin/tree",
    "odd",
]


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("story") / "home", server.root)
    yield person
    for name, namespace in (("hello", ""), ("second", ""), ("db", ""), ("spy", "other")):
        where = ("--namespace", namespace) if namespace else ()
        person.devbox("delete", name, "--yes", *where)


T = TypeVar("T")


@pytest.fixture(scope="module")
def machine(server: Server) -> Machine:
    return Machine(server.layout, server.settings.registry_port)


def uid(me: Person, project: str) -> str:
    return str(me.json("show", project)["uid"])


def eventually(look: Callable[[], T | None], what: str, seconds: float = 120) -> T:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def forget(me: Person, machine: Machine, project: str) -> None:
    """The node loses all it has of a stopped project, and the controller hears of it."""
    machine.forget_everything_local(uid(me, project))
    eventually(
        lambda: not me.json("show", project)["status"]["upper_node"] or None,
        "the node says that it has no upper",
    )


def newest_save(me: Person, project: str = "hello") -> dict[str, object]:
    saves = me.json("saves", project)["saves"]
    recorded = [save for save in saves if save["step"] == "recorded"]
    assert recorded, saves
    return dict(recorded[0])


def look(me: Person, project: str = "hello") -> list[str]:
    return me.sh(project, LOOK).splitlines()


@pytest.mark.smoke
def test_create_prints_the_address_once(me: Person) -> None:
    out = me.ok("create", "hello", "--runtime", "python", timeout=580)
    assert len(re.findall(r"/home/here/[a-z]+/hello/[0-9a-f]{32}", out)) >= 1
    assert not re.search(r"/hello/[0-9a-f]{32}", me.ok("show", "hello"))
    assert me.json("show", "hello")["status"]["phase"] == "running"


@pytest.mark.smoke
def test_ssh_runs_commands_with_their_status(me: Person) -> None:
    said = me.devbox("ssh", "hello", "--", "echo out; echo err >&2; exit 7")
    assert (said.status, said.out) == (7, "out\n")
    assert "err" in said.err
    assert me.sh("hello", "id -un; pwd").split() == ["devbox", "/project"]


def test_plain_ssh_works_by_name(me: Person) -> None:
    own = me.home / ".ssh" / "config"
    own.parent.mkdir(mode=0o700)
    own.write_text("Host elsewhere\n    User nobody\n")
    me.ok("ssh-config", "--write")
    assert own.read_text().endswith("Host elsewhere\n    User nobody\n")
    said = me.run("ssh", "-F", str(own), "hello.devbox", "echo $((6*7))")
    assert (said.status, said.out) == (0, "42\n"), said.err
    uploaded = os.urandom(300_000)
    (me.home / "blob").write_bytes(uploaded)
    assert me.run("scp", "-F", str(own), "blob", "hello.devbox:/tmp/blob").status == 0
    assert me.run("scp", "-F", str(own), "hello.devbox:/tmp/blob", "back").status == 0
    assert (me.home / "back").read_bytes() == uploaded


def test_the_address_alone_is_enough_and_stays_out_of_process_lists(
    me: Person, tmp_path: Path
) -> None:
    address = str(me.json("token", "new", "hello", "--name", "laptop")["url"])
    token = address.rpartition("/")[2]
    stranger = Person(tmp_path / "stranger", None)
    kept = tmp_path / "address"
    kept.write_text(address)
    kept.chmod(0o600)
    said = stranger.devbox("ssh", "--address", address, "--", "hostname")
    assert (said.status, said.out) == (0, "hello\n"), said.err
    asleep = stranger.start(
        str(DEVBOX), "ssh", "--address-file", str(kept), "--", "echo up; sleep 60"
    )
    try:
        assert asleep.stdout is not None
        assert asleep.stdout.readline() == b"up\n"
        lists = subprocess.run(["ps", "axww"], capture_output=True, check=True).stdout
        assert token.encode() not in lists
    finally:
        asleep.kill()
        asleep.communicate()
    wrong = stranger.devbox("ssh", "--address", address[:-1] + ("0" if address[-1] != "0" else "1"))
    assert wrong.status == 3
    assert token[:-1] not in wrong.err


def test_work_is_there_after_stop_and_start(me: Person) -> None:
    me.sh("hello", WORK, timeout=300)
    assert look(me) == SEEN
    key = me.json("show", "hello")["host_key"]
    me.ok("stop", "hello", "--wait")
    save = newest_save(me)
    assert save["reason"] == "stopped"
    assert str(save["digest"]).startswith("sha256:")
    assert int(str(save["total_bytes"])) > 0
    me.ok("start", "hello")
    assert look(me) == SEEN
    assert me.json("show", "hello")["host_key"] == key


def test_it_comes_back_from_the_registry_alone(me: Person, machine: Machine) -> None:
    key = me.json("show", "hello")["host_key"]
    me.ok("stop", "hello", "--wait")
    forget(me, machine, "hello")
    assert me.run("ssh", "-F", str(me.home / ".ssh/config"), "hello.devbox", "true").status == 0
    assert look(me) == SEEN
    assert me.json("show", "hello")["host_key"] == key


def test_save_and_release_leave_an_open_session_alone(me: Person) -> None:
    shell = me.start(str(DEVBOX), "ssh", "hello")
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        shell.stdin.write(b"here=still; echo ready\n")
        shell.stdin.flush()
        while shell.stdout.readline() != b"ready\n":
            pass
        me.sh("hello", "echo more > /project/more")
        me.ok("save", "hello")
        assert newest_save(me)["reason"] == "asked"
        me.ok("release", "hello", "v1", "--notes", "the first")
        again = me.devbox("release", "hello", "v1")
        assert again.status == 5
        assert "v1" in again.err
        shell.stdin.write(b"echo $here; exit 3\n")
        shell.stdin.close()
        assert shell.stdout.read().endswith(b"still\n")
        assert shell.wait(timeout=30) == 3
    finally:
        shell.kill()
        shell.wait()
    (release,) = me.json("releases", "hello")["releases"]
    assert (release["version"], release["notes"]) == ("v1", "the first")


def test_a_project_starts_from_a_release_with_a_key_of_its_own(me: Person) -> None:
    me.ok("create", "second", "--runtime", "hello:v1", timeout=300)
    assert look(me, "second") == SEEN
    assert me.sh("second", "cat /project/more") == "more\n"
    assert me.json("show", "second")["host_key"] != me.json("show", "hello")["host_key"]
    me.sh("second", "echo changed > /project/more")
    assert me.sh("hello", "cat /project/more") == "more\n"


def test_a_namespace_reaches_its_own_and_nobody_elses(me: Person) -> None:
    me.ok("create", "db", "--runtime", "postgres", timeout=580)
    knock = "python3 -c \"import socket; socket.create_connection(('{}', 5432), 3); print('open')\""
    eventually(
        lambda: me.devbox("ssh", "hello", "--", knock.format("db")).out == "open\n" or None,
        "postgres answers as db",
    )
    ip = me.json("show", "db")["status"]["box_ip"]
    me.ok("create", "spy", "--namespace", "other", "--runtime", "python", timeout=300)
    for host in ("db", "db.default", ip):
        said = me.devbox("ssh", "spy", "--namespace", "other", "--", knock.format(host))
        assert said.status != 0, host
        assert "open" not in said.out


def test_a_databases_volume_is_part_of_its_files(me: Person, machine: Machine) -> None:
    sql = "psql -h 127.0.0.1 -U postgres -tAc"
    me.sh("db", f"{sql} \"create table t as select 'kept' as word\"")
    for registry_only in (False, True):
        me.ok("stop", "db", "--wait")
        if registry_only:
            forget(me, machine, "db")
        me.ok("start", "db")
        got = eventually(
            lambda: me.devbox("ssh", "db", "--", f"{sql} 'select word from t'").out or None,
            "the database answers",
        )
        assert got == "kept\n"


def running(me: Person, project: str = "hello") -> bool | None:
    return me.json("show", project)["status"]["phase"] == "running" or None


@pytest.mark.parametrize("blow", ["main process", "container", "sandbox", "containerd"])
def test_files_survive_every_blow(me: Person, machine: Machine, blow: str) -> None:
    me.sh("hello", f"echo '{blow}' > /project/blow")
    generation = me.json("show", "hello")["generation"]
    machine.strike(blow, uid(me, "hello"))
    if blow != "containerd":
        eventually(lambda: me.json("show", "hello")["generation"] > generation or None, "a new box")
    eventually(lambda: running(me), "the box runs again")
    assert me.sh("hello", "cat /project/blow") == f"{blow}\n"
    assert look(me) == SEEN


def test_a_node_agent_killed_in_a_save_ends_with_one_save(me: Person, machine: Machine) -> None:
    me.sh("hello", "head -c 200000000 /dev/urandom > /project/big; sync")
    before = {save["seq"] for save in me.json("saves", "hello")["saves"]}
    me.ok("stop", "hello")
    eventually(
        lambda: [s for s in me.json("saves", "hello")["saves"] if s["seq"] not in before],
        "the save is seen in progress",
    )
    machine.kill("node_agent")

    def done() -> list[dict[str, object]] | None:
        saves = [s for s in me.json("saves", "hello")["saves"] if s["seq"] not in before]
        return saves if any(s["step"] == "recorded" for s in saves) else None

    saves = eventually(done, "the save is recorded after the restart")
    assert [s["step"] for s in saves if s["step"] != "dropped"] == ["recorded"]
    forget(me, machine, "hello")
    me.ok("start", "hello", timeout=300)
    assert me.sh("hello", "stat -c %s /project/big") == "200000000\n"
    me.sh("hello", "rm /project/big")


def test_a_box_started_past_the_shim_refuses_to_serve(me: Person, machine: Machine) -> None:
    said = machine.start_past_the_shim(uid(me, "hello"))
    assert said.returncode != 0
    assert "start record" in said.stderr + said.stdout
    assert look(me) == SEEN


def test_rotating_tokens_ends_open_links(me: Person, tmp_path: Path) -> None:
    kept = tmp_path / "address"
    kept.write_text(str(me.json("token", "new", "second")["url"]))
    stranger = Person(tmp_path / "stranger", None)
    open_link = stranger.start(
        str(DEVBOX), "ssh", "--address-file", str(kept), "--", "echo up; sleep 60"
    )
    try:
        assert open_link.stdout is not None
        assert open_link.stdout.readline() == b"up\n"
        me.ok("token", "rotate", "second")
        assert open_link.wait(timeout=5) != 0
    finally:
        open_link.kill()
        open_link.communicate()
    assert me.sh("second", "echo in") == "in\n"


def test_delete_asks_and_leaves_the_others(me: Person, machine: Machine) -> None:
    said = me.devbox("delete", "second", stdin="nonsense\n")
    assert said.status != 0
    gone = uid(me, "second")
    me.ok("delete", "second", "--yes")
    assert me.devbox("show", "second").status == 4
    assert machine.traces_of(gone) == []
    assert look(me) == SEEN


def test_nothing_secret_was_logged(me: Person, machine: Machine) -> None:
    secrets = set(
        re.findall(r"\b[0-9a-f]{32}\b", (me.home / ".config/devbox/credentials.toml").read_text())
    )
    assert secrets
    logs = "\n".join(path.read_text(errors="replace") for path in machine.logs())
    assert logs
    assert not [secret for secret in secrets if secret in logs]
    assert "PRIVATE KEY" not in logs
    assert json.loads(me.ok("list", "--output", "json"))
