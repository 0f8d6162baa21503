from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from tests.support.overlays import Overlay, overlay
from tests.support.registry import RegistryServer, running_registry


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
async def registry(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(server.url) as registry:
        yield registry


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Overlay]:
    with overlay(tmp_path / "box") as box:
        yield box
