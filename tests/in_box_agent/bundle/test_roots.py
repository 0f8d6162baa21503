"""The bundle runs in any root file system."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.model.nodes import UPPER_NONCE_XATTR
from tests.support.box import (
    Box,
    Gateway,
    busybox_root,
    debian_root,
    one_program_root,
    record,
    running,
    wait_for,
)
from tests.support.ssh import door

pytestmark = pytest.mark.root

ROOTS = [debian_root, busybox_root, one_program_root]


@pytest.mark.parametrize("make", ROOTS)
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("read_only", [False, True])
def test_the_agent_serves(
    bundle: Path, tmp_path: Path, make: Callable[[Path], None], uid: int, read_only: bool
) -> None:
    make(tmp_path)
    with running(bundle, tmp_path, record(), uid=uid, read_only=read_only) as box:
        box.wait_healthy()
        maps = Path(f"/proc/{box.agent()}/maps").read_text()
        files = {line.split()[-1] for line in maps.splitlines() if "/" in line}
        outside = {file for file in files if not file.startswith("/.devbox/")}
        assert not {file for file in outside if ".so" in file}, "only the bundle's libraries"


def test_a_throw_away_upper_is_refused(bundle: Path, tmp_path: Path) -> None:
    busybox_root(tmp_path)
    with running(bundle, tmp_path, record(), kept=False) as box:
        status, body = answer(box)
    assert status == 503
    assert "does not stand on the project's kept files" in body


def test_another_nonce_is_refused(bundle: Path, tmp_path: Path) -> None:
    busybox_root(tmp_path)
    os.setxattr(tmp_path, UPPER_NONCE_XATTR, b"another")
    with running(bundle, tmp_path, record(), kept=False) as box:
        assert answer(box)[0] == 503


def test_a_record_without_nonce_is_refused(bundle: Path, tmp_path: Path) -> None:
    busybox_root(tmp_path)
    with running(bundle, tmp_path, record(upper_nonce="")) as box:
        assert answer(box)[0] == 503


def answer(box: Box) -> tuple[int, str]:
    """The first answer of the agent."""
    return wait_for(lambda: next(iter(got for got in [box.get("/healthz")] if got[0]), None), "it")


def test_ssh_into_nothing_at_all(bundle: Path, tmp_path: Path) -> None:
    one_program_root(tmp_path)
    gateway = Gateway()
    start = record(grant_keys=(gateway.public,))
    with running(bundle, tmp_path, start, read_only=True, uid=1000) as box:
        box.wait_healthy()
        with door(box, gateway, start) as way:
            assert way.out("echo hello; pwd; ls /") == "hello\n/\napp\ndev\nproc\n"
            assert way.out("id -u; echo $PATH").splitlines()[-1].endswith(":/.devbox/tools")
