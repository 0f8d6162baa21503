"""Bad input and trouble: one clear sentence, the right exit code and status, nothing half-made."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from devbox.cli.server.parts import parts
from tests.support.images import BUSYBOX, ImageParts, Layer, build, push
from tests.support.person import DEVBOX, Person, Said
from tests.support.server import Server

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
PROJECT = "troubled"


@pytest.fixture(scope="module")
def me(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    person = Person(tmp_path_factory.mktemp("trouble") / "home", server.root)
    person.ok("create", PROJECT, "--runtime", "python", timeout=280)
    yield person
    for name in (PROJECT, "bare", "late"):
        person.devbox("delete", name, "--yes")


def refused(said: Said, status: int, sentence: str) -> None:
    """It ended so, with one sentence of what happened, and one of what to do behind it."""
    assert said.status == status, said.out + said.err
    (what,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert sentence in what
    assert not said.err.endswith(what + "\n"), "says not what to do"
    assert "Traceback" not in said.err


def names(me: Person) -> set[str]:
    return {project["name"] for project in me.json("list")["projects"]}


@contextlib.contextmanager
def down(server: Server, part: str) -> Iterator[None]:
    """One part is dead, and its supervisor cannot start it again until the end."""
    state = json.loads(server.layout.server_state.read_text())
    os.kill(state["pid"], signal.SIGSTOP)
    try:
        os.kill(state["parts"][part]["pid"], signal.SIGKILL)
        (wanted,) = [p for p in parts(server.layout, server.settings) if p.name == part]
        eventually(lambda: not wanted.ready(), f"{part} is down")
        yield
    finally:
        os.kill(state["pid"], signal.SIGCONT)
    eventually(wanted.ready, f"{part} is back")


def eventually(look: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("create", "new", "--runtime", "nope"), 4, "there is no runtime nope"),
        (("create", "new", "--runtime", "gone:v1"), 4, "there is no release gone:v1"),
        (("create", PROJECT, "--runtime", "python"), 5, f"default/{PROJECT} already"),
        (("create", "Bad_Name"), 2, "'Bad_Name' is not a valid name"),
        (("create", "new", "--image", "bad ref"), 2, "'bad ref'"),
        (("show", "missing"), 4, "there is no project default/missing"),
        (("ssh", "missing", "--", "true"), 4, "there is no project default/missing"),
        (("release", PROJECT, "no good"), 2, "'no good' is not a valid version"),
    ],
)
def test_bad_input_is_refused_and_makes_nothing(
    me: Person, words: tuple[str, ...], status: int, sentence: str
) -> None:
    before = names(me)
    refused(me.devbox(*words), status, sentence)
    assert names(me) == before


async def test_the_api_answers_with_the_right_status(me: Person, server: Server) -> None:
    python = {"runtime": "python"}
    admin = {"Authorization": f"Bearer {server.admin_token}"}
    asked = (
        ({"name": "new", "spec": {"runtime": "nope"}}, admin, 404, "not_found"),
        ({"name": PROJECT, "spec": python}, admin, 409, "conflict"),
        ({"name": "Bad_Name", "spec": python}, admin, 400, "bad_input"),
        ({"name": 7, "spec": python}, admin, 400, "bad_input"),
        ({"name": "new", "spec": python}, {"Authorization": "Bearer " + "0" * 32}, 401, ""),
    )
    url = f"{server.url}/api/v1/namespaces/default/projects"
    async with aiohttp.ClientSession() as http:
        for body, headers, status, code in asked:
            async with http.post(url, json=body, headers=headers) as answer:
                told = await answer.json()
                assert (answer.status, told["code"]) == (status, code or "unauthorized"), told
                assert told["message"]


def test_a_wrong_token_and_a_missing_project_sound_alike(me: Person, server: Server) -> None:
    host = f"ws://127.0.0.1:{server.settings.gateway_port}/home/here/default"
    said = [
        me.devbox("ssh", "--address", f"{host}/{name}/{'0' * 32}", "--", "true")
        for name in (PROJECT, "missing")
    ]
    refused(said[0], 3, "the credential is not valid")
    assert said[0] == said[1]


def test_an_image_without_a_shell_gets_one(me: Person, server: Server) -> None:
    registry = f"127.0.0.1:{server.settings.registry_port}"
    root = Layer(directories={".": 0o755}, files={"app": BUSYBOX.read_bytes()})
    image = build([root], {"Env": ["PATH=/"]})
    push(image, f"http://{registry}", "team/bare", "1")
    me.ok("create", "bare", "--image", f"{registry}/team/bare:1")
    assert me.sh("bare", "echo $((6 * 7)); cd / && echo *").split()[0] == "42"


def test_an_image_that_cannot_run_here_leaves_no_project(me: Person, server: Server) -> None:
    registry = f"127.0.0.1:{server.settings.registry_port}"
    made = build([Layer(directories={".": 0o755})])
    config = made.config.replace(b'"amd64"', b'"s390x"')
    manifest = json.loads(made.manifest)
    manifest["config"] |= {"digest": _digest(config), "size": len(config)}
    foreign = ImageParts(config, made.layers, json.dumps(manifest).encode())
    push(foreign, f"http://{registry}", "team/foreign", "1")
    before = names(me)
    said = me.devbox("create", "foreign", "--image", f"{registry}/team/foreign:1")
    refused(said, 2, "has no image for this machine's architecture")
    said = me.devbox("create", "nowhere", "--image", f"{registry}/team/nowhere:1")
    refused(said, 4, f"there is no image {registry}/team/nowhere:1")
    eventually(lambda: names(me) == before, "both are gone")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_without_the_gateway_or_the_controller_nothing_is_lost(me: Person, server: Server) -> None:
    with down(server, "gateway"):
        refused(me.devbox("list"), 6, "cannot be reached")
    with down(server, "controller"):
        refused(me.devbox("create", "late", "--runtime", "python"), 6, "does not answer")
    assert "late" not in names(me)
    assert me.sh(PROJECT, "echo in") == "in\n"


def test_a_save_waits_for_the_registry(me: Person, server: Server) -> None:
    me.sh(PROJECT, "echo kept > /project/file")
    with down(server, "registry"):
        refused(me.devbox("save", PROJECT), 6, "connection refused")
        refused(me.devbox("stop", PROJECT, "--wait"), 6, "the files are kept on the node")
        me.ok("start", PROJECT)
        assert me.sh(PROJECT, "cat /project/file") == "kept\n"

    def saved() -> bool:
        saves = me.json("saves", PROJECT)["saves"]
        return bool(saves) and all(save["step"] == "recorded" for save in saves)

    eventually(saved, "all saves are recorded")


def test_a_box_waits_for_containerd(me: Person, server: Server) -> None:
    with down(server, "containerd"):
        assert me.sh(PROJECT, "echo in") == "in\n"
        said = me.devbox("create", "late", "--runtime", "python")
        refused(said, 6, "the container runtime does not answer")
    eventually(lambda: me.json("show", "late")["status"]["phase"] == "running", "it runs")
    assert me.sh(PROJECT, "cat /project/file") == "kept\n"


def test_only_root_runs_a_server(tmp_path: Path) -> None:
    nobody = Person(tmp_path / "home", None)
    nobody.home.chmod(0o755)
    command = (str(DEVBOX), "server", "up", "--root", "/tmp/devbox-of-nobody")
    said = nobody.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command)
    if "Permission denied" in said.err:
        pytest.skip("nobody may not read this source tree")
    refused(said, 3, "which only root may")
    assert not Path("/tmp/devbox-of-nobody").exists()


def test_a_full_disk_starts_no_server(me: Person, tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", root], check=True)
    try:
        refused(me.devbox("server", "up", "--root", str(root)), 7, "0.0 GiB are free")
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_taken_port_starts_no_server(me: Person, server: Server) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as root, socket.socket() as taken:
        bundle = Path(root) / "data/bundle"
        bundle.mkdir(parents=True)
        (bundle / "current").symlink_to((server.layout.bundle / "current").resolve())
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        others = ("--set=subnet=198.18.0.0/24", "--set=bridge=none0", "--set=registry_port=0")
        up = ("server", "up", "--root", root, f"--set=gateway_port={port}", *others)
        refused(me.devbox(*up), 5, f"port {port} is taken by ")
        assert not (Path(root) / "run/server.json").exists()
