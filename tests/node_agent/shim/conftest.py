"""A node with the shim in this process."""

from collections.abc import AsyncIterator

import pytest

from tests.support.boxes import Node, node_of
from tests.support.containerd import ContainerdServer


@pytest.fixture
async def node(containerd_server: ContainerdServer) -> AsyncIterator[Node]:
    """For one test; all share one containerd."""
    async with node_of(containerd_server) as made:
        yield made
