"""Waiting for a project or a save, with progress. Knows the API, not the screen's forms."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from devbox.cli.screen import Report
from devbox.cli.units import size
from devbox.model.errors import Forbidden, NotFound, Unauthorized, Unavailable
from devbox.model.orchestrator import AskNews, Nothing, ProjectKey
from devbox.model.projects import Phase, Project
from devbox.model.runtimes import RuntimeState
from devbox.model.saves import Save, SaveStep

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway

_NEWS_S = 5.0
_BUILD_POLL_S = 0.2
_SAVE_POLL_S = 0.2
_BELIEVE_S = 2.0
"""A failure seen sooner after a start may be the last start's."""

DOWN_S = 120.0
"""A box has ended 10 s after it was told to; what follows is writing its files to disk."""

APPEAR_S = 10.0
"""A box that was just stopped shows its save within this time."""

_BAD = {Phase.FAILED, Phase.BACKING_OFF}


async def until_ready(gateway: "Gateway", before: Project, report: Report) -> Project:
    """Wait until the box can be dialled. Raises Unavailable when it cannot start."""
    key = ProjectKey(namespace=before.namespace, name=before.name)
    begun = time.monotonic()
    project = await gateway.api.get_project(key)
    while True:
        status = project.status
        if status.phase is Phase.RUNNING and status.box_ip:
            return project
        fresh = project.generation > before.generation or time.monotonic() - begun > _BELIEVE_S
        if status.phase in _BAD and fresh:
            raise Unavailable(
                f"{project.name} does not start: {status.message or status.phase}",
                f"Its files are kept. `devbox logs {project.name}` shows what it wrote.",
            )
        wait_s = _BELIEVE_S if status.phase in _BAD else _NEWS_S
        if status.phase is Phase.PREPARING:
            await _tell_runtime(gateway, project, report)
            wait_s = _BUILD_POLL_S
        else:
            report(status.message or "starting")
        project = await _news(gateway, project, wait_s)


async def _news(gateway: "Gateway", seen: Project, wait_s: float = _NEWS_S) -> Project:
    """The project once it is another than was seen; or as it is, after a while."""
    return await gateway.api.await_news(
        AskNews(
            namespace=seen.namespace,
            name=seen.name,
            phase=seen.status.phase,
            message=seen.status.message,
            generation=seen.generation,
            wait_s=wait_s,
        )
    )


async def _tell_runtime(gateway: "Gateway", project: Project, report: Report) -> None:
    """The first project of a runtime waits for its image; say how far that is."""
    wanted = project.spec.runtime
    try:
        known = (await gateway.api.list_runtimes(Nothing())).runtimes
    except (Unauthorized, Forbidden):
        known = ()
    for runtime in known:
        if runtime.name == wanted and runtime.state is RuntimeState.BUILDING:
            report(f"building runtime {wanted}: {runtime.message}".rstrip(": "), runtime.progress)
            return
    report(project.status.message or "preparing")


async def until_stopped(gateway: "Gateway", project: Project, report: Report) -> Project:
    """Wait until the box is down. Raises Unavailable when that takes so long that it hangs."""
    begun = time.monotonic()
    while project.status.phase not in {Phase.STOPPED, Phase.FAILED}:
        left = begun + DOWN_S - time.monotonic()
        if left <= 0:
            raise Unavailable(
                f"{project.name} is not down after {DOWN_S:.0f} s: "
                "its node's container runtime may not answer",
                "Its files are kept, and it goes on stopping by itself. "
                "`devbox server status` tells what runs.",
            )
        report(project.status.message or str(project.status.phase))
        project = await _news(gateway, project, min(_NEWS_S, left))
    return project


async def until_gone(gateway: "Gateway", key: ProjectKey, report: Report) -> None:
    """Wait until a deleted project is gone."""
    try:
        project = await gateway.api.get_project(key)
        while True:
            report(project.status.message or "deleting")
            project = await _news(gateway, project)
    except NotFound:
        return


async def until_saved(gateway: "Gateway", key: ProjectKey, order: str, report: Report) -> Save:
    """Wait for the save of an order. Raises Unavailable when it failed; it will be tried again."""
    while True:
        saves = (await gateway.api.list_saves(key)).saves
        save = next((save for save in saves if save.order_id == order), None)
        if save is not None and save.step is SaveStep.DROPPED:
            # Joined with a newer save of the same upper: that one holds the files.
            save = max(saves, key=lambda other: (other.generation, other.seq))
        if save is not None and _ended(save):
            return save
        _check_before(saves, save)
        _tell_save(save, report)
        await asyncio.sleep(_SAVE_POLL_S)


async def newest_save(gateway: "Gateway", key: ProjectKey) -> int:
    """The highest sequence of a project's saves; 0 without any."""
    return max((save.seq for save in (await gateway.api.list_saves(key)).saves), default=0)


async def until_save_behind(
    gateway: "Gateway", key: ProjectKey, last_seq: int, appear_s: float, report: Report
) -> Save | None:
    """Wait for the save that a stop began. None when none came within `appear_s`."""
    begun = time.monotonic()
    while True:
        saves = (await gateway.api.list_saves(key)).saves
        newer = [s for s in saves if s.seq > last_seq and s.step is not SaveStep.DROPPED]
        busy = [save for save in newer if not _ended(save)]
        if newer and not busy:
            return max(newer, key=lambda save: (save.generation, save.seq))
        if not newer and time.monotonic() - begun > appear_s:
            return None
        if busy:
            _check_before(saves, busy[0])
        _tell_save(busy[0] if busy else None, report)
        await asyncio.sleep(_SAVE_POLL_S)


def _check_before(saves: Sequence[Save], wanted: Save | None) -> None:
    """A project's saves are written in order: one that failed keeps those behind it waiting."""
    for save in saves:
        if wanted is None or save.seq < wanted.seq:
            _ended(save)


def _ended(save: Save) -> bool:
    if save.step is SaveStep.FAILED:
        raise Unavailable(
            f"save {save.seq} failed: {save.note or 'no reason was given'}",
            "The files are kept on their node, and the save is tried again by itself. "
            "`devbox saves` shows how it goes.",
        )
    return save.step in {SaveStep.RECORDED, SaveStep.DROPPED}


def _tell_save(save: Save | None, report: Report) -> None:
    if save is None:
        report("waiting for its turn")
    elif save.step is SaveStep.INTENT:
        report(f"writing, {size(save.done_bytes)}", fraction_of(save))
    else:
        report("recording", 1.0)


def fraction_of(save: Save) -> float | None:
    """How far a save's reading is; None when that is unknown."""
    return min(1.0, save.done_bytes / save.expected_bytes) if save.expected_bytes else None
