"""Taking every box down before the server ends, without changing what people desire of them."""

import asyncio
import time
from collections.abc import Callable

from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout
from devbox.model.saves import SaveStep
from node_agent.journal import Journal

PROJECT_LABEL = "devbox.dev/project"
_SAVES_S = 60.0
_LOOK_S = 0.1
_GRACE_S = 10


async def stop_boxes(layout: Layout, told: Callable[[str], None]) -> None:
    """Stop the boxes as kubelet would, and give their saves a minute. The rest goes on later."""
    cri = Cri(layout.cri_socket)
    try:
        ours = [box for box in await cri.sandboxes() if PROJECT_LABEL in box.labels]
        told(f"stopping {len(ours)} boxes")
        await asyncio.gather(*(_stop(cri, box.id) for box in ours), return_exceptions=True)
    finally:
        await cri.close()
    await _await_saves(layout, told)


async def _stop(cri: Cri, sandbox: str) -> None:
    for container in await cri.containers():
        if container.pod_sandbox_id == sandbox:
            await cri.stop_container(container.id, _GRACE_S)
    await cri.stop_sandbox(sandbox)
    await cri.remove_sandbox(sandbox)


async def _await_saves(layout: Layout, told: Callable[[str], None]) -> None:
    journal = Journal.open(layout.journal)
    until = time.monotonic() + _SAVES_S
    try:
        while time.monotonic() < until:
            left = [row for row in journal.open_saves() if row.save.step is not SaveStep.PUSHED]
            if not left:
                return
            told(f"{len(left)} saves are being written")
            await asyncio.sleep(_LOOK_S)
    finally:
        journal.close()
