"""The fake Orchestrator keeps the contract, and a cable between does not change it."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devbox.edge.clients import OrchestratorClient
from devbox.edge.rpc import serve
from devbox.model.orchestrator import Orchestrator
from tests.controller.contract import OrchestratorContract
from tests.support.orchestrator import FakeOrchestrator


class TestInMemory(OrchestratorContract):
    @pytest.fixture
    def orchestrator(self) -> FakeOrchestrator:
        return FakeOrchestrator()


class TestOverSocket(OrchestratorContract):
    @pytest.fixture
    async def orchestrator(self) -> AsyncIterator[OrchestratorClient]:
        with tempfile.TemporaryDirectory(dir="/tmp") as directory:
            socket = Path(directory) / "o.sock"
            runner = await serve(socket, protocol=Orchestrator, implementation=FakeOrchestrator())
            client = OrchestratorClient(socket)
            yield client
            await client.close()
            await runner.cleanup()
