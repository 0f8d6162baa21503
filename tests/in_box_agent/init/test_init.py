"""The first process of a box, as a container runtime sees it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from devbox.model.projects import ImageConfig
from tests.support.box import busybox_root, record, running, wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    place.mkdir()
    busybox_root(place)
    return place


def command(*words: str, directory: str = "") -> dict[str, object]:
    return {
        "config": ImageConfig(entrypoint=words, working_dir=directory),
        "run_image_command": True,
    }


def script(text: str) -> dict[str, object]:
    return command("/bin/sh", "-c", text)


def test_no_start_record_no_box(bundle: Path, root: Path) -> None:
    with running(bundle, root, None) as box:
        assert box.wait() == 78
    assert "there is no start record at /.devbox/box/start.json" in box.log
    assert "start the project again" in box.log


def test_it_refuses_to_be_anything_but_the_first_process(bundle: Path) -> None:
    done = subprocess.run([bundle / "bin/devbox-init"], capture_output=True, text=True)
    assert done.returncode == 78
    assert "not the first process" in done.stderr


def test_the_record_is_taken_and_told_to_nobody(bundle: Path, root: Path) -> None:
    start = record(project="needle-in-the-record")
    with running(bundle, root, start) as box:
        box.wait_healthy()
        inside = Path(f"/proc/{box.pid}/root")
        assert not (inside / ".devbox/box/start.json").exists()
        for pid in (box.pid, box.agent()):
            for name in ("environ", "cmdline"):
                assert b"needle" not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert "needle" not in box.log


@pytest.mark.smoke
def test_the_images_command_runs_and_its_end_is_the_boxes_end(bundle: Path, root: Path) -> None:
    start = record(**script("echo $FROM_PROJECT $PWD >&2; exit 9"))
    with running(bundle, root, start) as box:
        assert box.wait() == 9
    assert "yes /" in box.log
    assert "the image's command ended with status 9" in box.log


def test_a_killed_command_ends_the_box_like_a_shell_says_it(bundle: Path, root: Path) -> None:
    with running(bundle, root, record(**script("kill -KILL $$"))) as box:
        assert box.wait() == 128 + 9


@pytest.mark.parametrize(("name", "status"), [("/bin/nothing-there", 127), ("/bin", 126)])
def test_a_command_that_cannot_run(bundle: Path, root: Path, name: str, status: int) -> None:
    with running(bundle, root, record(**command(name))) as box:
        assert box.wait() == status
    assert f"cannot run the image's command {name}" in box.log


def test_the_images_command_starts_with_every_signal_at_its_default(
    bundle: Path, root: Path
) -> None:
    with running(bundle, root, record(**script("cat /proc/self/status >&2; exit 0"))) as box:
        assert box.wait() == 0
    assert {"SigIgn:\t0000000000000000", "SigBlk:\t0000000000000000"} <= set(box.lines)


def test_signals_reach_the_images_command(bundle: Path, root: Path) -> None:
    start = record(**script("trap 'echo got it >&2; exit 4' HUP; echo ready >&2; sleep 60 & wait"))
    with running(bundle, root, start) as box:
        wait_for(lambda: "ready" in box.log, "the command")
        box.stop(signal.SIGHUP)
        assert box.wait() == 4
    assert "got it" in box.log


def test_a_stopping_command_takes_its_time_and_gives_the_status(bundle: Path, root: Path) -> None:
    start = record(**script("trap 'sleep 0.3; exit 3' TERM; echo ready >&2; sleep 60 & wait"))
    with running(bundle, root, start) as box:
        wait_for(lambda: "ready" in box.log, "the command")
        box.stop()
        assert box.wait() == 3


def test_stopping_is_quick_when_everything_ends(bundle: Path, root: Path) -> None:
    with running(bundle, root, record()) as box:
        box.wait_healthy()
        began = time.monotonic()
        box.stop()
        assert box.wait() == 0
        assert time.monotonic() - began < 3


def test_orphans_are_reaped(bundle: Path, root: Path) -> None:
    start = record(**script("for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; echo ok >&2; sleep 60"))
    with running(bundle, root, start) as box:
        wait_for(lambda: "ok" in box.log, "the command")
        wait_for(lambda: not box.processes("sleep 0.01"), "the orphans' end")
        children = f"/proc/{box.pid}/task/{box.pid}/children"
        states = {
            Path(f"/proc/{pid}/stat").read_text().split()[2]
            for pid in Path(children).read_text().split()
        }
        assert "Z" not in states


def test_a_killed_agent_comes_back_and_nothing_else_notices(bundle: Path, root: Path) -> None:
    start = record(**script("echo ready >&2; sleep 60"))
    with running(bundle, root, start) as box:
        box.wait_healthy()
        wait_for(lambda: "ready" in box.log, "the command")
        first, sleeper = box.agent(), box.processes("sleep 60")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: "it starts again in 200 ms" in box.log, "init's word")
        box.wait_healthy()
        assert box.agent() != first
        assert box.processes("sleep 60") == sleeper
        assert box.log.count("ready") == 1, "the command was not run a second time"
