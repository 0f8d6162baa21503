"""The supervisor with small real processes for parts."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from devbox.cli.server import state
from devbox.cli.server.parts import Part
from devbox.cli.server.process import Times, bound_log
from devbox.cli.server.state import ServerState, Stage
from devbox.cli.server.supervisor import Asked, Supervisor
from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.tasks import Tasks
from devbox.model.errors import Conflict, Unavailable

QUICK = Times(ready=10, end=1, first_pause=0.01, longest_pause=0.05)
OBEYS = 'echo up >>"$OUT"; trap "echo down >>\\"$OUT\\"; exit 0" TERM; while :; do sleep 0.02; done'
STUBBORN = 'echo up >>"$OUT"; trap "" TERM; while :; do sleep 0.02; done'


@pytest.fixture
def layout() -> Iterator[Layout]:
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        yield Layout(data=Path(root) / "data", run=Path(root) / "run")


def settings() -> ServerSettings:
    """Settings with a network name that nobody else has."""
    return ServerSettings(bridge=f"dt{secrets.token_hex(4)}")


class Server:
    """A supervisor under test."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.asked = Asked()
        self.settings = settings()
        self._out = layout.data.parent

    def part(self, name: str, script: str = OBEYS) -> Part:
        """A shell script that says `up` when it serves."""
        out = self._out / f"{name}.out"
        return Part(name, ("bash", "-c", script), out.exists, {"OUT": str(out)})

    def said(self, name: str) -> list[str]:
        """What a script wrote."""
        return (self._out / f"{name}.out").read_text().split()

    @contextlib.asynccontextmanager
    async def running(self, *parts: Part) -> AsyncIterator["asyncio.Task[None]"]:
        """While the supervisor runs; afterwards it is stopped."""
        supervisor = Supervisor(self.layout, self.settings, parts, QUICK)
        async with Tasks("test") as tasks:
            task = tasks.start(supervisor.run(self.asked), "supervisor")
            try:
                yield task
            finally:
                self.asked.end()
                await asyncio.wait([task])

    async def until(self, true: Callable[[ServerState], bool]) -> ServerState:
        """Wait for a state."""
        async with asyncio.timeout(10):
            while (now := state.read(self.layout)) is None or not true(now):
                await asyncio.sleep(0.01)
        return now


@pytest.fixture
def server(layout: Layout) -> Server:
    return Server(layout)


def ready(now: ServerState) -> bool:
    return now.stage is Stage.READY


async def test_parts_start_in_order_and_end_in_the_other(server: Server) -> None:
    async with server.running(server.part("one"), server.part("two")) as task:
        now = await server.until(ready)
        assert list(now.parts) == ["one", "two"]
        assert now.parts["one"].started_at < now.parts["two"].started_at
        assert all(state.born(part.pid) for part in now.parts.values())
        server.asked.end()
        await asyncio.wait([task])
    assert server.said("one") == server.said("two") == ["up", "down"]
    assert state.read(server.layout) is None
    assert not any(state.born(part.pid) for part in now.parts.values())


async def test_a_killed_part_comes_back(server: Server) -> None:
    async with server.running(server.part("one"), server.part("two")):
        before = await server.until(ready)
        os.kill(before.parts["one"].pid, signal.SIGKILL)
        after = await server.until(lambda now: now.parts["one"].restarts == 1)
        after = await server.until(lambda now: now.parts["one"].ready)
        assert after.parts["one"].pid != before.parts["one"].pid
        assert after.parts["one"].said == "ended by SIGKILL"
        assert after.parts["two"] == before.parts["two"]


async def test_a_part_that_will_not_end_is_ended(server: Server) -> None:
    async with server.running(server.part("one", STUBBORN)):
        now = await server.until(ready)
    assert server.said("one") == ["up"]
    assert state.born(now.parts["one"].pid) == 0


async def test_a_part_that_does_not_start_ends_the_rest_and_tells_why(server: Server) -> None:
    broken = server.part("two", "echo the disk is made of cheese >&2; exit 3")
    async with server.running(server.part("one"), broken) as task:
        await asyncio.wait([task])
        error = task.exception()
        now = state.read(server.layout)
    assert isinstance(error, Unavailable)
    assert error.message == "two does not start: the disk is made of cheese"
    assert str(server.layout.logs / "two.log") in error.hint
    assert now is not None
    assert (now.stage, now.message, now.code) == (Stage.FAILED, error.message, error.code)
    assert server.said("one") == ["up", "down"]


async def test_a_missing_program_is_named(server: Server) -> None:
    part = Part("one", ("/no/such/program",), lambda: False)
    async with server.running(part) as task:
        await asyncio.wait([task])
        assert "/no/such/program" in str(task.exception())


async def test_it_can_be_ended_while_it_starts(server: Server) -> None:
    never = Part("one", ("sleep", "1000"), lambda: False)
    async with server.running(never, server.part("two")) as task:
        await server.until(lambda now: "one" in now.parts and now.parts["one"].pid > 0)
        server.asked.end()
        await asyncio.wait([task])
        assert task.exception() is None
    assert not (server.layout.data.parent / "two.out").exists()


async def test_two_cannot_run(server: Server) -> None:
    async with server.running(server.part("one")):
        await server.until(ready)
        second = Supervisor(server.layout, settings(), (), QUICK)
        with pytest.raises(Conflict, match="runs already"):
            await second.run(Asked())
        root = server.layout.data.parent / "other"
        elsewhere = Layout(data=root / "data", run=root / "run")
        third = Supervisor(elsewhere, server.settings, (), QUICK)
        with pytest.raises(Conflict, match=f"uses the network {server.settings.bridge}"):
            await third.run(Asked())
        assert (await server.until(ready)).pid == os.getpid()


SUPERVISES = """
import asyncio, sys
from pathlib import Path
from devbox.cli.server.parts import Part
from devbox.cli.server.supervisor import Asked, Supervisor
from devbox.edge.layout import ServerSettings, layout_below
part = Part("one", ("sleep", "1000"), lambda: True)
settings = ServerSettings(bridge=sys.argv[2])
asyncio.run(Supervisor(layout_below(sys.argv[1]), settings, [part]).run(Asked()))
"""


async def test_parts_end_with_a_supervisor_that_is_killed(server: Server) -> None:
    root = server.layout.data.parent
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISES, str(root), server.settings.bridge]
    ) as supervisor:
        try:
            now = await server.until(ready)
        finally:
            supervisor.kill()
    assert state.read(server.layout) is None
    async with asyncio.timeout(10):
        while state.born(now.parts["one"].pid):
            await asyncio.sleep(0.01)


async def test_folders_keep_their_secrets(server: Server) -> None:
    async with server.running(server.part("one")):
        await server.until(ready)
    modes = {path.name: path.stat().st_mode & 0o777 for path in server.layout.data.iterdir()}
    assert modes["keys"] == modes["logs"] == modes["uppers"] == modes["registry"] == 0o700
    assert server.layout.data.stat().st_mode & 0o777 == 0o711
    assert (server.layout.run / "registry.yml").stat().st_mode & 0o777 == 0o600


def test_pauses_grow_to_a_bound() -> None:
    times = Times(first_pause=0.1, longest_pause=10)
    assert [times.pause(ends) for ends in (1, 2, 3, 8, 1000)] == [0.1, 0.2, 0.4, 10, 10]


def test_a_log_turns_over_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("ab") as writer:
        writer.write(b"old" * 10)
        writer.flush()
        bound_log(log, 100)
        assert log.stat().st_size == 30
        bound_log(log, 20)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "part.log.1").read_bytes() == b"old" * 10
