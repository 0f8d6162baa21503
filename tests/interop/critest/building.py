"""Builds `critest` from Go modules: versions and hashes are in `go/`, the result is kept."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.bundle import cache

_MODULE = Path(__file__).with_name("go")
_PACKAGE = "github.com/kubernetes-sigs/cri-tools/cmd/critest"
_PLACES = ("/usr/local/go/bin",)


def critest() -> Path:
    """The program, built when it is not there yet."""
    kept = cache() / "critest" / _digest()
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as aside:
            made = Path(aside) / "critest"
            _build(made)
            with contextlib.suppress(OSError):  # another run was faster
                os.rename(made, kept)
    return kept


def _digest() -> str:
    inputs = sorted(path for path in _MODULE.iterdir())
    return hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]


def _build(made: Path) -> None:
    # Without optimising: it is run once or twice, and waits most of the time.
    command = [_go(), "test", "-c", "-trimpath", "-mod=readonly", "-gcflags=all=-N -l"]
    command += ["-ldflags=-s -w"]
    print(f"building critest with {command[0]}: a few minutes, once", flush=True)
    done = subprocess.run(
        [*command, "-o", str(made), _PACKAGE],
        cwd=_MODULE,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"critest does not build:\n{done.stderr[-3000:]}")


def _environment() -> Mapping[str, str]:
    return {**os.environ, "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def _go() -> str:
    """The one that `deploy/setup.sh go` fetched, else this machine's."""
    path = os.pathsep.join((str(cache() / "go/go/bin"), os.environ.get("PATH", ""), *_PLACES))
    found = shutil.which("go", path=path)
    if found is None:
        pytest.fail("there is no Go to build critest with: run `deploy/setup.sh go`")
    return found
