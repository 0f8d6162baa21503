"""Starting and ending a server that runs in the background, seen from outside.

Everything is learnt from `server.json` and from whether the process is there. Knows no screen.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from devbox.cli.server import state
from devbox.cli.server.checks import Check, before_start
from devbox.cli.server.state import ServerState, Stage
from devbox.edge.layout import Layout, ServerSettings, read_settings
from devbox.model import errors

_UP_S = 300.0
_LOOK_S = 0.05
_AFTER_A_KILL_S = 10.0
_AFTER_SAVES_S = 90.0
"""The end of the parts, once nobody waits for saves any more."""

Report = Callable[..., None]


def change_settings(layout: Layout, changes: Sequence[str]) -> ServerSettings:
    """The settings with `KEY=VALUE`s put in, kept in server.toml. Raises BadInput."""
    settings = msgspec.to_builtins(read_settings(layout))
    for pair in changes:
        key, sign, value = pair.partition("=")
        if not sign or key not in settings:
            raise errors.BadInput(
                f"{pair!r} is no setting", f"Settings are {', '.join(sorted(settings))}."
            )
        settings[key] = value
    try:
        made = msgspec.convert(settings, ServerSettings, strict=False)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"a setting is wrong: {error}", "Nothing was changed.") from error
    if changes:
        layout.settings.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        draft = layout.settings.with_suffix(".new")
        draft.write_text(_as_toml(msgspec.to_builtins(made)))
        draft.replace(layout.settings)
    return made


def _as_toml(settings: dict[str, object]) -> str:
    # Text, numbers and truth values have the same form in JSON.
    return "".join(
        f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in settings.items()
    )


def check_ground(layout: Layout, settings: ServerSettings) -> None:
    """Raises the error of the first thing that keeps the server from starting."""
    # The parts of a supervisor that was killed are still ending, and hold their ports so long.
    until = time.monotonic() + (_AFTER_A_KILL_S if layout.server_state.exists() else 0.0)
    while (check := _first_bad(layout, settings)) is not None:
        if check.code != errors.Conflict.code or time.monotonic() > until:
            raise errors.BY_CODE[check.code](check.said, check.mend)
        time.sleep(_LOOK_S)


def _first_bad(layout: Layout, settings: ServerSettings) -> Check | None:
    return next((check for check in before_start(layout, settings) if not check.good), None)


def start(layout: Layout, root: str, changes: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Check the ground and launch. None when somebody else started the server meanwhile."""
    try:
        check_ground(layout, change_settings(layout, changes))
    except errors.DevboxError:
        if state.read(layout) is not None:
            return None
        raise
    return launch(layout, root)


def launch(layout: Layout, root: str) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own."""
    try:
        layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        if state.read(layout) is None:
            layout.server_state.unlink(missing_ok=True)
        with log_of(layout).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "devbox.cli.main", "server", "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "DEVBOX_ROOT": root},
            )
    except OSError as error:
        raise errors.Unavailable(
            f"{error.filename} cannot be written: {error.strerror}", "Nothing was changed."
        ) from error


def log_of(layout: Layout) -> Path:
    """What the supervisor says."""
    return layout.logs / "supervisor.log"


def await_ready(
    layout: Layout, report: Report, launched: subprocess.Popen[bytes] | None
) -> ServerState:
    """Wait until the server is ready. Raises what it failed with."""
    until = time.monotonic() + _UP_S
    while time.monotonic() < until:
        now = state.read(layout)
        if now is not None:
            report(now.message, now.fraction)
            if now.stage is Stage.READY:
                return now
        _raise_failure(layout)
        if launched is not None and launched.poll() is not None and now is None:
            # It may have told in the moment before it ended.
            _raise_failure(layout)
            raise errors.Internal(f"the server ended at once: {_last_line(layout)}", _look(layout))
        time.sleep(_LOOK_S)
    raise errors.Unavailable("the server does not get ready", _look(layout))


def await_end(layout: Layout, report: Report) -> None:
    """Wait while a server is on its way down."""
    until = time.monotonic() + _UP_S
    while (now := state.read(layout)) is not None:
        report(now.message, now.fraction)
        if time.monotonic() > until:
            raise errors.Unavailable("the server does not end", _look(layout))
        time.sleep(_LOOK_S)


def end(layout: Layout, running: ServerState, report: Report, wait_for_saves_s: float) -> None:
    """End the server and wait until it is gone. Saves that are not done by then go on later."""
    _signal(running.pid)
    hurry_at: float = time.monotonic() + wait_for_saves_s
    hurried = False
    while (now := state.read(layout)) is not None:
        report(now.message, now.fraction)
        if not hurried and time.monotonic() > hurry_at:
            hurried = True
            _signal(running.pid)
        if time.monotonic() > hurry_at + _AFTER_SAVES_S:
            raise errors.Unavailable("the server does not end", _look(layout))
        time.sleep(_LOOK_S)


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise errors.Forbidden(
            "the server belongs to another user", "Nothing was changed. Use sudo."
        ) from error


def _raise_failure(layout: Layout) -> None:
    """A server that failed leaves what it said."""
    try:
        left = msgspec.json.decode(layout.server_state.read_bytes(), type=ServerState)
    except (OSError, msgspec.MsgspecError):
        return
    if left.code:
        raise errors.BY_CODE.get(left.code, errors.Internal)(left.message, left.hint)


def _last_line(layout: Layout) -> str:
    lines = log_of(layout).read_text(errors="replace").strip().splitlines()
    return lines[-1][-400:] if lines else "it said nothing"


def _look(layout: Layout) -> str:
    return f"Nothing is lost. Look into {log_of(layout)}."
