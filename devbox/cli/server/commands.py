"""`devbox server up|down|status|run` and `devbox doctor`."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from devbox.cli.lazy import Call, command, group
from devbox.model import errors

if TYPE_CHECKING:
    from devbox.cli.server.state import ServerState
    from devbox.edge.layout import Layout, ServerSettings

_UP_S = 180.0
_DOWN_S = 150.0
_LOOK_S = 0.05

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


@command("devbox server up", "devbox server up --root /srv/box --set gateway_port=8080")
def up(call: Call, root: Root = "", change: Settings = None) -> None:
    """Start the whole stack on this machine: registry, containerd, node agent, controller, gateway.

    Run again, it says what is running.
    """
    from devbox.cli.server import state
    from devbox.edge.layout import layout_below

    layout = layout_below(root)
    running = state.read(layout)
    if running is not None and running.stage is state.Stage.READY:
        _refuse_changes(change)
        _summary(call, layout, running, "already running")
        return
    if running is None or running.stage is state.Stage.FAILED:
        settings = _change_settings(layout, change)
        _check(layout, settings)
        _launch(layout, root)
    with (
        call.screen.goes_on("The server goes on starting; `devbox server status` tells."),
        call.screen.progress("Starting the server") as report,
    ):
        running = _await_ready(layout, report)
    _summary(call, layout, running, "running")


def _refuse_changes(change: list[str] | None) -> None:
    if change:
        raise errors.Conflict(
            "the server is running with its old settings", "Stop it first: devbox server down"
        )


def _change_settings(layout: "Layout", change: list[str] | None) -> "ServerSettings":
    from devbox.edge.layout import ServerSettings, read_settings

    settings = msgspec.to_builtins(read_settings(layout))
    for pair in change or ():
        key, sign, value = pair.partition("=")
        if not sign or key not in settings:
            raise errors.BadInput(
                f"{pair!r} is no setting", f"Settings are {', '.join(sorted(settings))}."
            )
        settings[key] = value
    try:
        made = msgspec.convert(settings, ServerSettings, strict=False)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"a setting is wrong: {error}") from error
    if change:
        layout.settings.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        lines = (f"{key} = {_toml(value)}\n" for key, value in msgspec.to_builtins(made).items())
        layout.settings.write_text("".join(lines))
    return made


def _toml(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _check(layout: "Layout", settings: "ServerSettings") -> None:
    from devbox.cli.server.checks import before_start

    for check in before_start(layout, settings):
        if not check.good:
            raise errors.Conflict(f"{check.name}: {check.said}", check.mend)


def _launch(layout: "Layout", root: str) -> None:
    layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    layout.server_state.unlink(missing_ok=True)
    with (layout.logs / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "devbox.cli.main", "server", "run"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "DEVBOX_ROOT": root},
        )


def _await_ready(layout: "Layout", report: Callable[..., None]) -> "ServerState":
    from devbox.cli.server import state

    until = time.monotonic() + _UP_S
    while time.monotonic() < until:
        now = state.read(layout)
        if now is not None:
            report(now.message)
            if now.stage is state.Stage.READY:
                return now
        _raise_failure(layout)
        time.sleep(_LOOK_S)
    raise errors.Unavailable(
        "the server does not get ready", f"Look into {layout.logs / 'supervisor.log'}."
    )


def _raise_failure(layout: "Layout") -> None:
    """A server that failed leaves what it said."""
    from devbox.cli.server.state import ServerState

    try:
        left = msgspec.json.decode(layout.server_state.read_bytes(), type=ServerState)
    except (OSError, msgspec.MsgspecError):
        return
    if left.code:
        raise errors.BY_CODE.get(left.code, errors.Internal)(left.message, left.hint)


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
    from devbox.edge.layout import layout_below, read_settings
    from devbox.edge.service import log_as_json

    log_as_json()
    layout = layout_below(root)
    settings = read_settings(layout)

    async def main() -> None:
        asked = Asked()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.end)
        await Supervisor(layout, settings, parts(layout, settings)).run(asked)

    asyncio.run(main())


@command("devbox server down")
def down(call: Call, root: Root = "") -> None:
    """Stop the whole stack. Boxes go down and are saved; `up` brings them back."""
    from devbox.cli.server import state
    from devbox.edge.layout import layout_below

    layout = layout_below(root)
    running = state.read(layout)
    if running is None:
        call.screen.answer({"stopped": False})
        call.screen.say("The server is not running.")
        return
    os.kill(running.pid, signal.SIGTERM)
    with (
        call.screen.goes_on("The server goes on stopping. Nothing is lost."),
        call.screen.progress("Stopping the server") as report,
    ):
        _await_end(layout, report)
    call.screen.answer({"stopped": True})
    call.screen.say("The server is stopped. Nothing is lost; `devbox server up` brings it back.")


def _await_end(layout: "Layout", report: Callable[..., None]) -> None:
    from devbox.cli.server import state

    until = time.monotonic() + _DOWN_S
    while (now := state.read(layout)) is not None:
        if time.monotonic() > until:
            raise errors.Unavailable(
                "the server does not end", f"Look into {layout.logs / 'supervisor.log'}."
            )
        report(now.message)
        time.sleep(_LOOK_S)


@command("devbox server status", "devbox server status --output json")
def status(call: Call, root: Root = "") -> int:
    """What runs. Exit code 6 when the server is not ready."""
    from devbox.cli.server import state
    from devbox.edge.layout import layout_below

    layout = layout_below(root)
    now = state.read(layout)
    if now is None:
        call.screen.answer({"stage": "stopped"})
        call.screen.say("The server is not running. `devbox server up` starts it.")
        return errors.Unavailable.exit_code
    call.screen.answer(now)
    call.screen.say(f"The server is {now.stage} at {now.url}. {now.message}".rstrip())
    rows = [
        (name, str(part.pid), _age(part.started_at), str(part.restarts), _memory(part.pid))
        for name, part in now.parts.items()
    ]
    call.screen.table(("part", ">pid", ">up for", ">restarts", ">memory"), rows)
    return 0 if now.stage is state.Stage.READY else errors.Unavailable.exit_code


def _age(started_at: float) -> str:
    seconds = int(time.time() - started_at)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
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
    from devbox.edge.layout import layout_below, read_settings

    layout = layout_below(root)
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


server_app = group("Run the whole stack on this machine.", up=up, down=down, status=status, run=run)
