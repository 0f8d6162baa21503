"""A person's home directory, and a gateway whose Orchestrator is in memory."""

import io
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from devbox.cli import config, main, reach
from devbox.model.orchestrator import ProjectKey
from tests.support.orchestrator import FakeOrchestrator

URL = "https://devbox.test"
_TIMES = re.compile(r"\b\d+\.\d\d s\b")


@dataclass
class Result:
    code: int
    out: str
    err: str


class FakeApi:
    """The Orchestrator as the HTTP API shows it."""

    def __init__(self, orchestrator: FakeOrchestrator) -> None:
        self._orchestrator = orchestrator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orchestrator, name)

    async def about(self) -> Any:
        return SimpleNamespace(version="9.9.9", cluster="home", region="here")

    async def me(self) -> Any:
        return SimpleNamespace(name="anna")


@dataclass
class Cli:
    """Runs command lines in this process, as `devbox` would."""

    orchestrator: FakeOrchestrator
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    bearers: list[str] = field(default_factory=list)

    def run(self, *words: str, stdin: str = "") -> Result:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main.run(words)
        out, err = self.capsys.readouterr()
        return Result(code, _TIMES.sub("0.00 s", out), _TIMES.sub("0.00 s", err))

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
    monkeypatch.setenv("DEVBOX_ROOT", str(tmp_path / "no-server"))
    return place


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Somebody who is logged in."""
    made = Cli(FakeOrchestrator(), capsys, monkeypatch)

    @asynccontextmanager
    async def open_api(context: config.Context, bearer: str) -> AsyncIterator[reach.Gateway]:
        made.bearers.append(bearer)
        api: Any = FakeApi(made.orchestrator)
        yield reach.Gateway(context, api)

    monkeypatch.setattr(reach, "open_api", open_api)
    context = config.Context("work", URL, cluster="home", region="here")
    config.put_context(context, made.orchestrator.admin_token, use=True)
    return made
