"""A person's home directory, and a gateway whose Orchestrator is in memory."""

import asyncio
import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from devbox.cli import config, main, reach
from devbox.edge import log
from devbox.model.orchestrator import ProjectKey
from tests.support.gateway import house
from tests.support.orchestrator import FakeOrchestrator

URL = "http://devbox.test"
"""What the gateway's URL becomes in transcripts: its port is another every time."""
_TIMES = re.compile(r"\b\d+\.\d\d s\b")


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs command lines in this process, as `devbox` would."""

    orchestrator: FakeOrchestrator
    url: str
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    bearers: list[str] = field(default_factory=list)

    def run(self, *words: str, stdin: str = "") -> Result:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main.run(words)
        out, err = self.capsys.readouterr()
        return Result(code, self._plain(out), self._plain(err))

    def _plain(self, text: str) -> str:
        """Without what is another at every run."""
        return _TIMES.sub("0.00 s", text).replace(self.url.removeprefix("http://"), "devbox.test")

    def ok(self, *words: str, stdin: str = "") -> str:
        result = self.run(*words, stdin=stdin)
        assert (result.code, result.err) == (0, result.err), result.err
        return result.out

    def key(self, name: str, namespace: str = "default") -> ProjectKey:
        return ProjectKey(namespace=namespace, name=name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home on a machine that runs no server."""
    place = tmp_path / "home"
    place.mkdir(mode=0o700)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DEVBOX_CONTEXT", "DEVBOX_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("DEVBOX_ROOT", str(tmp_path / "no-server"))
    return place


@pytest.fixture
def cli(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """Somebody who is logged in to a real gateway, which runs in a thread of its own."""
    with served() as (orchestrator, url):
        made = Cli(orchestrator, url, capsys, monkeypatch)
        real = reach.open_api

        def open_api(context: config.Context, bearer: str) -> Any:
            made.bearers.append(bearer)
            return real(context, bearer)

        monkeypatch.setattr(reach, "open_api", open_api)
        context = config.Context("work", url, cluster="home", region="here")
        config.put_context(context, orchestrator.admin_token, use=True)
        yield made


@contextmanager
def served() -> Iterator[tuple[FakeOrchestrator, str]]:
    """A gateway before an Orchestrator in memory; its URL."""
    started: Future[tuple[FakeOrchestrator, str, Callable[[], Any]]] = Future()
    log.silence()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    thread = threading.Thread(target=lambda: asyncio.run(_serve(started)))
    thread.start()
    orchestrator, url, stop = started.result(timeout=30)
    try:
        yield orchestrator, url
    finally:
        stop()
        thread.join()
        log.from_level("debug")
        structlog.reset_defaults()


async def _serve(started: "Future[tuple[FakeOrchestrator, str, Callable[[], Any]]]") -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with house() as running:

        def stop() -> None:
            loop.call_soon_threadsafe(over.set)

        started.set_result((running.fake, running.url, stop))
        await over.wait()
