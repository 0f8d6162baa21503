"""`devbox server up|down|status|run` and `devbox doctor`."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command, group
from devbox.cli.units import size
from devbox.model import errors

if TYPE_CHECKING:
    from devbox.cli.server.state import ServerState
    from devbox.edge.layout import Layout

_TOLD_S = 10.0

Root = Annotated[
    str,
    typer.Option(
        "--root",
        envvar="DEVBOX_ROOT",
        metavar="DIR",
        help="Keep everything below DIR, so that several servers run side by side.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting of the server, such as gateway_port."
    ),
]


@command(
    "devbox server up",
    "devbox server up --runtime python",
    "devbox server up --root /srv/box --set gateway_port=8080",
)
def up(
    call: Call,
    root: Root = "",
    change: Settings = None,
    runtime: Annotated[
        str,
        typer.Option("--runtime", metavar="NAME", help="Have this runtime built when it ends."),
    ] = "",
) -> None:
    """Start the whole stack on this machine: registry, containerd, node agent, controller, gateway.

    Run again, it says what is running.
    """
    from devbox.cli.server import control, state

    layout = _layout(root)
    running = state.read(layout)
    how = "running"
    if running is not None and running.stage is state.Stage.READY:
        _refuse_changes(change)
        how = "already running"
    else:
        with (
            call.screen.goes_on("The server goes on starting; `devbox server status` tells."),
            call.screen.progress("Starting the server") as report,
        ):
            launched = None
            if running is None or running.stage is not state.Stage.STARTING:
                control.await_end(layout, report)
                launched = control.start(layout, root and str(Path(root).resolve()), change or ())
            running = control.await_ready(layout, report, launched)
    if runtime:
        asyncio.run(_have_runtime(call, layout, runtime))
    _summary(call, layout, running, how)


async def _have_runtime(call: Call, layout: "Layout", name: str) -> None:
    from devbox.cli.runtimes import until_ready
    from devbox.edge.clients import OrchestratorClient
    from devbox.model.orchestrator import Nothing, RuntimeKey
    from devbox.model.runtimes import RuntimeState

    client = OrchestratorClient(layout.orchestrator_socket)
    try:
        until = time.monotonic() + _TOLD_S
        while True:
            # A new server learns from the node what can be built.
            found = {one.name: one for one in (await client.list_runtimes(Nothing())).runtimes}
            if name in found or time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        if name not in found or found[name].state is not RuntimeState.READY:
            await client.build_runtime(RuntimeKey(name=name))
            await until_ready(call, client, name)
    finally:
        await client.close()


def _layout(root: str) -> "Layout":
    from devbox.edge.layout import layout_below

    return layout_below(root and str(Path(root).resolve()))


def _refuse_changes(change: list[str] | None) -> None:
    if change:
        raise errors.Conflict(
            "the server is running with its old settings", "Stop it first: devbox server down"
        )


def _summary(call: Call, layout: "Layout", running: "ServerState", how: str) -> None:
    call.screen.answer(running)
    call.screen.say(f"The server is {how}.")
    call.screen.say(f"  gateway      {running.url}")
    call.screen.say(f"  admin token  {layout.keys / 'admin-token'}")
    call.screen.say("  next         devbox create hello --runtime python")


@command("devbox server run")
def run(_call: Call, root: Root = "") -> None:
    """Run the stack in the foreground until SIGTERM. `up` starts this in the background."""
    from devbox.cli.server.parts import parts
    from devbox.cli.server.supervisor import Asked, Supervisor
    from devbox.edge.layout import read_settings
    from devbox.edge.service import log_as_json, on_end

    log_as_json("supervisor")
    layout = _layout(root)
    settings = read_settings(layout)

    async def main() -> None:
        asked = Asked()
        on_end(asked.end)
        await Supervisor(layout, settings, parts(layout, settings)).run(asked)

    asyncio.run(main())


@command("devbox server down", "devbox server down --wait-for-saves 0")
def down(
    call: Call,
    root: Root = "",
    wait_for_saves: Annotated[
        float,
        typer.Option(
            "--wait-for-saves",
            metavar="SECONDS",
            help="After that, saves go on when the server is up again.",
        ),
    ] = 120.0,
) -> None:
    """Stop the whole stack. Boxes go down and are saved; `up` brings them back."""
    from devbox.cli.server import control, leftovers, state

    layout = _layout(root)
    running = state.read(layout)
    if running is None:
        call.screen.answer({"stopped": False})
        call.screen.say("The server is not running.")
        if leftovers.orphans(layout):
            call.screen.note(
                "Boxes run without it: `devbox server up` takes them up, then `down` stops them."
            )
        return
    with (
        call.screen.goes_on("The server goes on stopping. Nothing is lost."),
        call.screen.progress("Stopping the server") as report,
    ):
        control.end(layout, running, report, wait_for_saves)
    call.screen.answer({"stopped": True})
    call.screen.say("The server is stopped. Nothing is lost; `devbox server up` brings it back.")


@command("devbox server status", "devbox server status --output json")
def status(call: Call, root: Root = "") -> int:
    """What runs. Exit code 6 when the server is not ready."""
    from devbox.cli.server import state
    from devbox.edge.space import space_of

    layout = _layout(root)
    now = state.read(layout)
    if now is None:
        call.screen.answer({"stage": "stopped"})
        call.screen.say("The server is not running. `devbox server up` starts it.")
        return errors.Unavailable.exit_code
    call.screen.answer(now)
    call.screen.say(f"The server is {now.stage} at {now.url}. {now.message}".rstrip())
    rows = [
        (
            name,
            "running" if part.ready else "starting" if part.pid else "down",
            str(part.pid or "-"),
            _age(part.started_at),
            str(part.restarts),
            _memory(part.pid),
            part.said,
        )
        for name, part in now.parts.items()
    ]
    if (space := space_of(layout.data)).low:
        floor = " No box is started until there is more." if space.at_floor else ""
        call.screen.note(f"The disk is nearly full: {space}.{floor} No file is lost.")
    call.screen.table(("part", "state", ">pid", ">up for", ">restarts", ">memory", "last"), rows)
    return 0 if now.stage is state.Stage.READY else errors.Unavailable.exit_code


def _age(started_at: float) -> str:
    seconds = int(time.time() - started_at)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _memory(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "-"
    kib = next((line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")), "0")
    return f"{int(kib) / 1024:.0f} MiB"


@command("devbox doctor", "devbox doctor --output json")
def doctor(call: Call, root: Root = "") -> int:
    """Find what is wrong here and how to mend it. Exit code 1 when something is."""
    from devbox.cli.server import state
    from devbox.cli.server.checks import before_start, of_running
    from devbox.edge.layout import read_settings

    layout = _layout(root)
    settings = read_settings(layout)
    runs = state.read(layout) is not None
    found = [
        check
        for check in before_start(layout, settings)
        if not (runs and check.name.endswith("port"))
    ]
    found += of_running(layout, settings)
    call.screen.answer(found)
    rows = [
        ("ok" if check.good else "BAD", check.name, check.said, "" if check.good else check.mend)
        for check in found
    ]
    call.screen.table(("", "what", "found", "to mend it"), rows)
    return 0 if all(check.good for check in found) else 1


@command("devbox server gc", "devbox server gc --output json")
def gc(call: Call, root: Root = "") -> None:
    """Give back the disk of what was deleted, now: the server does it by itself a little later.

    Safe at any time, also while saves run.
    """
    from devbox.cli.server.collecting import collect

    with call.screen.progress("Sweeping the registry") as report:
        report("what is deleted waits half a minute, in case it is used again")
        done = collect(_layout(root).registry)
    call.screen.answer(done)
    call.screen.say(
        f"{done.deleted} blobs deleted, {size(done.freed_bytes)} given back."
        if done.deleted
        else "Nothing to do: everything in the registry is in use."
    )
    if done.aside:
        call.screen.note(f"{done.aside} more wait until it is certain that nobody uses them.")


server_app = group(
    "Run the whole stack on this machine.", up=up, down=down, status=status, run=run, gc=gc
)
