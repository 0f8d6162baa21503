"""`devbox save|saves`: the box's files as images in the registry."""

import time
from typing import TYPE_CHECKING

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, NoWait, ProjectName
from devbox.cli.units import age, duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devbox.model.saves import Save

_DIGEST_SHOWN = 8


@command("devbox save hello", "devbox save hello --no-wait")
async def save(
    call: Call, name: ProjectName, namespace: Namespace = "", no_wait: NoWait = False
) -> None:
    """Save a project's files now, also while it runs. Open sessions go on."""
    from devbox.cli.reach import open_project
    from devbox.cli.wait import until_saved
    from devbox.model.orchestrator import AskSave

    async with open_project(call, name, namespace) as (gateway, key):
        asked = await gateway.api.ask_save(AskSave(namespace=key.namespace, name=key.name))
        if no_wait:
            call.screen.answer(asked)
            call.screen.say(f"The save of {key.name} has begun: devbox saves {key.name}")
            return
        aside = f"The save goes on by itself: devbox saves {key.name}"
        with call.screen.goes_on(aside), call.screen.progress(f"Saving {key.name}") as report:
            done = await until_saved(gateway, key, asked.order_id, report)
    call.screen.answer(done)
    frozen = f", box frozen for {done.frozen_ms:.0f} ms" if done.frozen_ms else ""
    call.screen.say(
        f"Save {done.seq} is recorded: {size(done.new_bytes)} in "
        f"{duration(done.duration_s)}{frozen}."
    )
    if done.note:
        call.screen.note(done.note)


@command("devbox saves hello", "devbox saves hello --output json")
async def saves(call: Call, name: ProjectName, namespace: Namespace = "") -> None:
    """List a project's saves, newest first: those in progress and those done."""
    from devbox.cli.reach import open_project

    async with open_project(call, name, namespace) as (gateway, key):
        found = await gateway.api.list_saves(key)
    call.screen.answer(found)
    if not found.saves:
        call.screen.note(f"{key.name} has no save yet. `devbox save {key.name}` makes one.")
        return
    now = time.time()
    call.screen.table(
        (
            ">save",
            "state",
            "reason",
            "begun",
            ">took",
            ">added",
            ">size",
            ">layers",
            "digest",
            "note",
        ),
        [_row(one, now) for one in found.saves],
    )
    call.screen.note(_history(found.saves))


def _history(saves: "Sequence[Save]") -> str:
    """What the saves took in all, and which took most."""
    from devbox.model.saves import SaveStep

    done = [save for save in saves if save.step is SaveStep.RECORDED]
    if not done:
        return "None of them is recorded yet."
    largest = max(done, key=lambda save: (save.new_bytes, save.seq))
    return (
        f"These {len(done)} recorded saves added {size(sum(save.new_bytes for save in done))}, "
        f"most of it save {largest.seq} ({size(largest.new_bytes)}); the newest is "
        f"{size(done[0].total_bytes)} in {done[0].layers} layers."
    )


def _row(save: "Save", now: float) -> tuple[str, ...]:
    from devbox.model.saves import SaveStep

    done = save.step is SaveStep.RECORDED
    moving = save.step not in {SaveStep.FAILED, SaveStep.DROPPED}
    return (
        str(save.seq),
        _state(save),
        str(save.reason),
        age(save.started_at, now),
        duration(save.duration_s if done else max(0.0, now - save.started_at)) if moving else "-",
        size(save.new_bytes if done else save.done_bytes) if moving else "-",
        size(save.total_bytes) if done else "-",
        str(save.layers) if done else "-",
        save.digest.removeprefix("sha256:")[:_DIGEST_SHOWN] or "-",
        save.note,
    )


def _state(save: "Save") -> str:
    """`recorded`, `failed`, `dropped`, or how far one in progress is."""
    from devbox.cli.wait import fraction_of
    from devbox.model.saves import SaveStep

    if save.step is SaveStep.INTENT:
        fraction = fraction_of(save)
        return "in progress" if fraction is None else f"in progress {fraction:.0%}"
    return (
        "in progress 100%" if save.step in {SaveStep.WRITTEN, SaveStep.PUSHED} else str(save.step)
    )
