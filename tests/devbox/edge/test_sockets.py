"""Unix sockets to listen on."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.edge.sockets import bind_private


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield f"{name}/s"


def test_for_its_user_alone(path: str) -> None:
    with bind_private(path):
        assert os.stat(path).st_mode & 0o777 == 0o600
    before = os.umask(0o022)
    os.umask(before)
    assert before != 0o177


def test_a_dead_listeners_place_is_taken(path: str) -> None:
    bind_private(path).close()
    with bind_private(path) as made:
        made.listen()


def test_a_live_listeners_place_is_not(path: str) -> None:
    with bind_private(path) as made:
        made.listen()
        with pytest.raises(OSError, match="exists already"):
            bind_private(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_anything_else_stays(path: str, kind: str) -> None:
    if kind == "file":
        Path(path).touch()
    elif kind == "directory":
        Path(path).mkdir()
    else:
        Path(path).symlink_to("gone")
    with pytest.raises(OSError, match="exists already"):
        bind_private(path)
    assert os.path.lexists(path)
