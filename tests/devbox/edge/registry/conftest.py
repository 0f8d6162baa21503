from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.registry import Deadlines, Registry
from tests.support.registry import RegistryServer, running_registry

QUICK = Deadlines(
    connect_s=1, silence_s=2, small_s=3, blob_s=10, finish_s=5, retry_after_s=(0.02, 0.05)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with running_registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RegistryServer]:
    with running_registry(tmp_path) as server:
        yield server


@pytest.fixture
async def registry(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(server.url, deadlines=QUICK) as registry:
        yield registry
