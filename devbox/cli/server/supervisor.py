"""Starts the parts of an embedded server, keeps them running, and ends them in order.

Owns the processes, their logs and `server.json`. A part that dies is started again, later each time
it dies young; everything a part needs to know it finds again on disk.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from controller.embedded.network import Network
from devbox.cli.server import configs, leftovers, pause, state
from devbox.cli.server.boxes import stop_boxes
from devbox.cli.server.parts import Part
from devbox.cli.server.process import Kept, Times, bound_log
from devbox.cli.server.state import ServerState, Stage
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from devbox.edge.tasks import Tasks
from devbox.model.errors import Conflict, DevboxError

_log = structlog.get_logger()
LOG_BYTES = 32 << 20
"""No part's log grows over this; as much again of what was before is kept."""
_LOOK_AT_LOGS_S = 15.0
_FIRST_TO_END = ("gateway", "controller")
"""They end before the boxes do: nobody may start again what is being stopped."""


class Asked:
    """What people ask of a running supervisor. Asking twice to stop no longer waits for saves."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def end(self) -> None:
        """End the server; again: at once."""
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


class Supervisor:
    """One embedded server, until it is asked to stop."""

    def __init__(
        self,
        layout: Layout,
        settings: ServerSettings,
        parts: Sequence[Part],
        times: Times | None = None,
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._parts = parts
        self._times = times or Times()
        self._kept: dict[str, Kept] = {}
        self._state = ServerState(
            pid=os.getpid(),
            born=state.born(os.getpid()),
            stage=Stage.STARTING,
            url=settings.gateway_url,
        )

    async def run(self, asked: Asked) -> None:
        """Start all, wait until asked to stop, end all. Raises DevboxError."""
        with only_one(self._layout, self._settings.bridge):
            prepare(self._layout, self._settings)
            async with Tasks("supervisor") as tasks:
                try:
                    await self._start(asked, tasks)
                    await asked.stop.wait()
                except DevboxError as error:
                    await self._fail(error)
                    raise
                await self._end(asked)
            self._layout.server_state.unlink(missing_ok=True)

    # -- up -----------------------------------------------------------------------------------

    async def _start(self, asked: Asked, tasks: Tasks) -> None:
        for part in self._parts:
            if asked.stop.is_set():
                return
            self._say(Stage.STARTING, f"starting {part.name}")
            log = self._layout.logs / f"{part.name}.log"
            kept = self._kept[part.name] = Kept(part, log, self._tell, self._times)
            tasks.start(kept.run(), part.name)
            await _first_of(asked.stop, kept, tasks)
            if part.name == "registry" and not asked.stop.is_set():
                await self._push_pause()
        self._say(Stage.READY, "")
        tasks.start(self._bound_logs(), "logs")

    async def _push_pause(self) -> None:
        async with Registry(f"http://{self._settings.registry_host}") as registry:
            await pause.push(registry)

    async def _bound_logs(self) -> None:
        while True:
            for path in self._layout.logs.glob("*.log"):
                await asyncio.to_thread(bound_log, path, LOG_BYTES)
            await asyncio.sleep(_LOOK_AT_LOGS_S)

    # -- down ---------------------------------------------------------------------------------

    async def _end(self, asked: Asked) -> None:
        self._say(Stage.STOPPING, "closing the gateway")
        await self._stop_parts(*_FIRST_TO_END)
        if "shim" in self._kept:
            try:
                await stop_boxes(self._layout, self._progress, asked.hurry)
            except DevboxError as error:
                _log.error("boxes_not_stopped", error=error.message)
        await self._stop_everything()
        if "controller" in self._kept:
            await self._take_network_away()

    async def _take_network_away(self) -> None:
        try:
            await Network.of(self._layout, self._settings).remove()
        except DevboxError as error:
            _log.warning("network_left", error=error.message)

    async def _fail(self, error: DevboxError) -> None:
        # What boxes run goes on: a server that failed to start took nobody down.
        self._say(Stage.STOPPING, "ending what was started")
        await self._stop_parts(*reversed(self._kept))
        self._state = msgspec.structs.replace(
            self._state, stage=Stage.FAILED, code=error.code, message=error.message, hint=error.hint
        )
        self._tell()

    async def _stop_everything(self) -> None:
        self._say(Stage.STOPPING, "ending the parts")
        await self._stop_parts(*reversed(self._kept))
        processes, mounts = await asyncio.to_thread(leftovers.clean, self._layout)
        if processes or mounts:
            _log.warning("leftovers_cleaned", processes=processes, mounts=mounts)

    async def _stop_parts(self, *names: str) -> None:
        for name in names:
            if name in self._kept:
                await self._kept[name].stop()

    # -- telling ------------------------------------------------------------------------------

    def _progress(self, message: str, fraction: float | None) -> None:
        self._state = msgspec.structs.replace(self._state, fraction=fraction)
        self._say(Stage.STOPPING, message)

    def _say(self, stage: Stage, message: str) -> None:
        self._state = msgspec.structs.replace(self._state, stage=stage, message=message)
        self._tell()

    def _tell(self) -> None:
        parts = {name: kept.state for name, kept in self._kept.items()}
        self._state = msgspec.structs.replace(self._state, parts=parts)
        state.write(self._layout, self._state)


async def _first_of(stop: asyncio.Event, kept: Kept, tasks: Tasks) -> None:
    """Until the part serves, or the server is asked to stop. Raises what the part does."""
    name = kept.part.name
    served = tasks.start(kept.until_served(), f"{name}/served")
    stopped = tasks.start(stop.wait(), f"{name}/stopped")
    await asyncio.wait([served, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if served.done():
        served.result()
    else:
        served.cancel()


@contextlib.contextmanager
def only_one(layout: Layout, bridge: str) -> Iterator[None]:
    """Hold the server's directory and network. Raises Conflict when another process does."""
    layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    with _file_held(layout.run / "server.lock"), _network_held(bridge):
        yield


@contextlib.contextmanager
def _file_held(path: Path) -> Iterator[None]:
    # Whoever can read it can lock it, and keep the server from starting.
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                "the server runs already", "Nothing was changed: devbox server status"
            ) from error
        yield


@contextlib.contextmanager
def _network_held(bridge: str) -> Iterator[None]:
    # An abstract socket's name is known in this network namespace only, as the bridge's is.
    with socket.socket(socket.AF_UNIX) as held:
        try:
            held.bind(f"\0devbox/{bridge}")
        except OSError as error:
            raise Conflict(
                f"another server of this machine uses the network {bridge}",
                "Choose another: devbox server up --set bridge=NAME --set subnet=10.148.0.0/16",
            ) from error
        yield


def prepare(layout: Layout, settings: ServerSettings) -> None:
    """Make the folders and write what the foreign parts are told."""
    for path in (layout.data, layout.run, layout.logs, layout.uppers, layout.registry):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (layout.keys, layout.boxes, layout.journal.parent, layout.controller.parent):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A box's user must be able to pass through to what is mounted from below.
    layout.data.chmod(0o711)
    layout.run.chmod(0o711)
    for path, text in configs.files(layout, settings, secrets.token_hex(16)):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_secret(path, text)


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
