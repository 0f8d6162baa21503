"""Taking every box down before the server ends, without changing what people desire of them."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import structlog

from devbox.edge.cri.client import Cri
from devbox.edge.layout import Layout
from devbox.model.errors import NotFound
from devbox.model.saves import Save, SaveStep
from node_agent.journal import Journal

_log = structlog.get_logger()
PROJECT_LABEL = "devbox.dev/project"
SAVES_S = 600.0
"""Longest wait for saves, unless somebody is in a hurry."""
_LOOK_S = 0.1
_GRACE_S = 10
_LATER = {SaveStep.PUSHED, SaveStep.FAILED}
"""Steps that another try, or the controller, must carry on: not now."""

Told = Callable[[str, float | None], None]


async def stop_boxes(layout: Layout, told: Told, hurry: asyncio.Event) -> None:
    """Stop the boxes as kubelet would and wait for their saves. What is left goes on later."""
    cri = Cri(layout.cri_socket)
    try:
        ours = [box.id for box in await cri.sandboxes() if PROJECT_LABEL in box.labels]
        if ours:
            told(f"stopping {_count(len(ours), 'box', 'boxes')}", None)
        for error in await asyncio.gather(
            *(_stop(cri, box) for box in ours), return_exceptions=True
        ):
            if error is not None:
                _log.warning("box_not_stopped", error=str(error))
    finally:
        await cri.close()
    await _await_saves(layout, told, hurry)


async def _stop(cri: Cri, sandbox: str) -> None:
    for container in await cri.containers():
        if container.pod_sandbox_id == sandbox:
            await cri.stop_container(container.id, _GRACE_S)
    await cri.stop_sandbox(sandbox)
    with contextlib.suppress(NotFound):
        await cri.remove_sandbox(sandbox)


async def _await_saves(layout: Layout, told: Told, hurry: asyncio.Event) -> None:
    journal = Journal.open(layout.journal)
    until = time.monotonic() + SAVES_S
    try:
        while time.monotonic() < until and not hurry.is_set():
            left = [row.save for row in journal.open_saves() if row.save.step not in _LATER]
            if not left:
                return
            told(*progress_of(left))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await hurry.wait()
        _log.warning("saves_left_for_later")
    finally:
        journal.close()


def progress_of(saves: Sequence[Save]) -> tuple[str, float | None]:
    """Saves under way, as a person wants to hear of them."""
    expected = sum(max(save.expected_bytes, save.done_bytes) for save in saves)
    done = sum(save.done_bytes for save in saves)
    text = f"writing {_count(len(saves), 'save', 'saves')}"
    return text, done / expected if expected else None


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
