"""One box with this machine's programs, for all tests of SSH."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devbox.model.nodes import StartRecord
from devbox.model.projects import ImageConfig
from tests.support.box import Gateway, debian_root, record, running
from tests.support.ssh import Door, door

GATEWAY = Gateway()


@pytest.fixture(scope="package")
def start() -> StartRecord:
    return record(grant_keys=(GATEWAY.public,), config=ImageConfig(working_dir="/project"))


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("root")
    debian_root(place)
    return place


@pytest.fixture(scope="package")
def box(bundle: Path, root: Path, start: StartRecord) -> Iterator[Door]:
    """A way into the box, whose user is uid 1000."""
    with running(bundle, root, start, uid=1000) as running_box:
        running_box.wait_healthy()
        with door(running_box, GATEWAY, start) as way:
            yield way
