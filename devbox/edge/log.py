"""Loggers for parts that clients share with servers: they cost nothing until something is said.

Importing structlog takes longer than all else that a short command does, and a command says
nothing. Owns the threshold and what is set up before the first event; the events' form is
structlog's.
"""

from collections.abc import Callable
from typing import Any

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "exception": 40}
_NEVER = 100


class _State:
    least = 0
    set_up: Callable[[], None] | None = None


def from_level(name: str, set_up: Callable[[], None] | None = None) -> None:
    """Say nothing below this level; call `set_up` before the first event that is said."""
    _State.least = _LEVELS[name]
    _State.set_up = set_up


def silence() -> None:
    """Say nothing at all: a person's terminal, or its stdout that carries SSH, is no log."""
    _State.least = _NEVER


class Log:
    """A logger with structlog's methods, which loads structlog for the first event it says."""

    def __getattr__(self, method: str) -> Any:
        if _LEVELS[method] < _State.least:
            return _nothing
        return getattr(_structlog().get_logger(), method)


def get_logger() -> Any:
    """A logger, at no cost."""
    return Log()


def _structlog() -> Any:
    import structlog

    set_up, _State.set_up = _State.set_up, None
    if set_up is not None:
        set_up()
    return structlog


def _nothing(event: str, **facts: object) -> None:
    del event, facts
