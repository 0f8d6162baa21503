"""`devbox start|stop|logs`: a project's box."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, NoWait, ProjectName
from devbox.cli.units import duration, size

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.model.orchestrator import ProjectKey

_LOG_POLL_S = 1.0
_LOG_LINES = 1000


@command("devbox start hello", "devbox start hello --no-wait")
async def start(
    call: Call, name: ProjectName, namespace: Namespace = "", no_wait: NoWait = False
) -> None:
    """Start a project's box and wait until it is ready. Every file is where it was."""
    from devbox.cli.reach import open_project
    from devbox.cli.wait import until_ready

    begun = time.monotonic()
    async with open_project(call, name, namespace) as (gateway, key):
        before = await gateway.api.get_project(key)
        project = await gateway.api.start_project(key)
        aside = f"{key.name} goes on starting; `devbox show {key.name}` tells how far it is."
        if not no_wait:
            with call.screen.goes_on(aside), call.screen.progress(f"Starting {key.name}") as report:
                project = await until_ready(gateway, before, report)
    call.screen.answer(project)
    took = duration(time.monotonic() - begun)
    call.screen.say(f"{key.name} is starting." if no_wait else f"{key.name} is ready ({took}).")


@command("devbox stop hello", "devbox stop hello --wait")
async def stop(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the save too, which goes on behind it.")
    ] = False,
    no_wait: NoWait = False,
) -> None:
    """Stop a project's box. Its files are kept, and saved behind your back."""
    from devbox.cli.reach import open_project
    from devbox.cli.wait import APPEAR_S, until_save_behind, until_stopped

    begun = time.monotonic()
    async with open_project(call, name, namespace) as (gateway, key):
        was_down, last = await _before(gateway, key) if wait else (False, 0)
        project = await gateway.api.stop_project(key)
        if not no_wait:
            aside = f"{key.name} goes on stopping; its files are kept."
            with call.screen.goes_on(aside), call.screen.progress(f"Stopping {key.name}") as report:
                project = await until_stopped(gateway, project, report)
        if not wait:
            call.screen.answer(project)
            took = duration(time.monotonic() - begun)
            call.screen.say(
                f"{key.name} is stopping." if no_wait else f"{key.name} is down ({took})."
            )
            call.screen.note(f"Its save goes on behind it: devbox saves {key.name}")
            return
        call.screen.note(f"{key.name} is down ({duration(time.monotonic() - begun)}).")
        aside = f"The save goes on by itself: devbox saves {key.name}"
        with call.screen.goes_on(aside), call.screen.progress(f"Saving {key.name}") as report:
            appear_s = 0.0 if was_down else APPEAR_S
            save = await until_save_behind(gateway, key, last, appear_s, report)
    call.screen.answer({"project": project, "save": save})
    if save is None:
        call.screen.say("No save was begun: nothing seems to have changed.")
    else:
        call.screen.say(
            f"Save {save.seq} is recorded: {size(save.new_bytes)} in {duration(save.duration_s)}."
        )


async def _before(gateway: "Gateway", key: "ProjectKey") -> tuple[bool, int]:
    """Whether the box is down already, and else the newest save there is."""
    from devbox.cli.wait import newest_save
    from devbox.model.projects import Phase

    was_down = (await gateway.api.get_project(key)).status.phase is Phase.STOPPED
    return was_down, 0 if was_down else await newest_save(gateway, key)


@command("devbox logs db", "devbox logs db --follow")
async def logs(
    call: Call,
    name: ProjectName,
    namespace: Namespace = "",
    lines: Annotated[int, typer.Option("--lines", min=1, help="The last so many.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
) -> None:
    """Show what the box's main process wrote."""
    import asyncio

    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import AskLogs

    async with open_project(call, name, namespace) as (gateway, key):
        seen: tuple[str, ...] = ()
        wanted = lines
        while True:
            request = AskLogs(namespace=key.namespace, name=key.name, lines=wanted)
            found = (await gateway.api.get_logs(request)).lines
            if not follow:
                call.screen.answer({"lines": found})
            for line in found[overlap(seen, found) :]:
                call.screen.pass_on(line)
            if not follow:
                return
            seen, wanted = found or seen, max(lines, _LOG_LINES)
            await asyncio.sleep(_LOG_POLL_S)


def overlap(seen: tuple[str, ...], found: tuple[str, ...]) -> int:
    """How many lines at the head of `found` end `seen`: the rest is new."""
    for count in range(min(len(seen), len(found)), 0, -1):
        if seen[-count:] == found[:count]:
            return count
    return 0
