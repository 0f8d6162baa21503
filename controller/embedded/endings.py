"""Why a box ended, as a sentence for people. Pure."""

import signal

_SIGNALLED = 128
_MAX_SHOWN = 200


def sentence(exit_code: int, reason: str, last_line: str) -> str:
    """Of a container that exited by itself."""
    if reason == "OOMKilled":
        said = "The box was killed because it used more memory than its bound allows"
    elif exit_code > _SIGNALLED and (name := _signal(exit_code - _SIGNALLED)):
        said = f"The box was ended by {name} (exit code {exit_code})"
    else:
        said = f"The box ended with exit code {exit_code}"
    shown = last_line.strip()[:_MAX_SHOWN]
    return f"{said}; its last line was: {shown!r}." if shown else f"{said}."


def could_not_start(message: str) -> str:
    """Of a box that could not be made."""
    return f"The box could not be started: {message.rstrip('.')}."


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""
