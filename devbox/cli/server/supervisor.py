"""Starts the parts of an embedded server, keeps them running, and ends them in order.

Owns the processes, their logs and `server.json`. A part that dies is started again, later each time
it dies young; everything a part needs to know it finds again on disk.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import structlog

from devbox.cli.server import configs, pause, state
from devbox.cli.server.boxes import stop_boxes
from devbox.cli.server.parts import Part, parts
from devbox.cli.server.state import PartState, ServerState, Stage
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Unavailable

_log = structlog.get_logger()
_READY_S = 60.0
_LOOK_S = 0.05
_END_S = 8.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_GROWN_UP_S = 30.0
_LOG_BYTES = 32 << 20


@dataclass
class _Running:
    part: Part
    process: asyncio.subprocess.Process
    restarts: int


class Supervisor:
    """One embedded server, until `stop` is set."""

    def __init__(self, layout: Layout, settings: ServerSettings) -> None:
        self._layout = layout
        self._settings = settings
        self._running: dict[str, _Running] = {}
        self._ending = False
        self._tasks = Tasks("supervisor")
        self._state = ServerState(
            pid=os.getpid(), born=state.born(os.getpid()), stage=Stage.STARTING, url=_url(settings)
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Start all, wait for `stop`, end all."""
        prepare(self._layout, self._settings)
        self._say(Stage.STARTING)
        try:
            for part in parts(self._layout, self._settings):
                await self._start(part)
                if part.name == "registry":
                    await self._push_pause()
            self._say(Stage.READY)
            await stop.wait()
        except DevboxError as error:
            failed = msgspec.structs.replace(
                self._state, code=error.code, message=error.message, hint=error.hint
            )
            self._state = failed
            raise
        finally:
            await self._end()

    async def _push_pause(self) -> None:
        async with Registry(f"http://{self._settings.registry_host}") as registry:
            await pause.push(registry)

    async def _start(self, part: Part) -> None:
        self._say(Stage.STARTING, f"starting {part.name}")
        self._running[part.name] = _Running(part, await self._spawn(part), 0)
        self._tasks.start(self._keep(part.name), part.name)
        until = time.monotonic() + _READY_S
        while not part.ready():
            if time.monotonic() > until or self._running[part.name].restarts > 2:
                raise Unavailable(
                    f"{part.name} does not start: {self._last_words(part.name)}",
                    f"Its log is {self._log_path(part.name)}. Nothing is lost.",
                )
            await asyncio.sleep(_LOOK_S)
        self._note(part.name, ready=True)

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        with self._open_log(part.name) as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    "setpriv",
                    "--pdeathsig",
                    "TERM",
                    "--",
                    *part.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **part.env},
                    cwd="/",
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise Unavailable(
                    f"{error.filename} is missing", "Install the Debian package util-linux."
                ) from error
        self._state.parts[part.name] = PartState(pid=process.pid, started_at=time.time())
        return process

    async def _keep(self, name: str) -> None:
        """Start the part again whenever it ends."""
        pause_s = _FIRST_PAUSE_S
        while True:
            running = self._running[name]
            born = time.monotonic()
            status = await running.process.wait()
            if self._ending:
                return
            _log.warning("part_ended", part=name, status=status)
            if time.monotonic() - born > _GROWN_UP_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
            running.process = await self._spawn(running.part)
            running.restarts += 1
            self._note(name, ready=True)

    async def _end(self) -> None:
        failed = bool(self._state.code)
        self._say(Stage.FAILED if failed else Stage.STOPPING)
        self._ending = True
        await self._end_parts("gateway", "controller")
        if not failed:
            try:
                await stop_boxes(self._layout, lambda text: self._say(Stage.STOPPING, text))
            except DevboxError as error:
                _log.error("boxes_not_stopped", error=error.message)
        await self._end_parts("node_agent", "shim", "containerd", "registry")
        await self._tasks.close()
        _unmount(self._layout)
        if not failed:
            self._layout.server_state.unlink(missing_ok=True)

    async def _end_parts(self, *names: str) -> None:
        for name in names:
            running = self._running.get(name)
            if running is None or running.process.returncode is not None:
                continue
            running.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(running.process.wait(), _END_S)
            except TimeoutError:
                _log.warning("part_killed", part=name)
                running.process.kill()
                await running.process.wait()

    def _note(self, name: str, *, ready: bool) -> None:
        running = self._running[name]
        self._state.parts[name] = msgspec.structs.replace(
            self._state.parts[name], ready=ready, restarts=running.restarts
        )
        state.write(self._layout, self._state)

    def _say(self, stage: Stage, message: str | None = None) -> None:
        said = self._state.message if message is None else message
        self._state = msgspec.structs.replace(self._state, stage=stage, message=said)
        state.write(self._layout, self._state)

    def _log_path(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    def _open_log(self, name: str) -> BinaryIO:
        path = self._log_path(name)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > _LOG_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def _last_words(self, name: str) -> str:
        lines = self._log_path(name).read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else "it said nothing"


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
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)


def _unmount(layout: Layout) -> None:
    """Take away what containerd left mounted below our folders."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith((f"{layout.run}/", f"{layout.containerd_root}/")):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def _url(settings: ServerSettings) -> str:
    host = "127.0.0.1" if settings.gateway_host == "0.0.0.0" else settings.gateway_host
    return f"http://{host}:{settings.gateway_port}"
