"""The embedded Orchestrator keeps the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.calls.orchestrator import EmbeddedOrchestrator
from devbox.model.nodes import Report
from tests.controller.contract import OrchestratorContract
from tests.support.controller import open_house
from tests.support.node import NODE, FakeNode, ready


class TestEmbedded(OrchestratorContract):
    @pytest.fixture
    async def orchestrator(self, tmp_path: Path) -> AsyncIterator[EmbeddedOrchestrator]:
        house = await open_house(tmp_path)
        runtimes = (ready("postgres", run_image_command=True), ready("python"))
        await house.nodes.report(Report(node=NODE, runtimes=runtimes))
        house.tasks.start(FakeNode(house.nodes).run(), "node", vital=True)
        yield house.orchestrator
        assert house.tasks.error is None
        await house.close()
