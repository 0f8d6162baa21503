"""How a part of the server starts: two folders, JSON lines on stderr, one exit code per fault."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import uvloop

from devbox.edge.layout import Layout
from devbox.model.errors import DevboxError


def log_as_json(part: str) -> None:
    """From now on this process's events are one JSON object per line on stderr."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(part=part)


def on_end(ask: Callable[[], None]) -> None:
    """Call `ask` each time this process is asked to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)


class Part:
    """One part's process: `python -m NAME --data DIR --run DIR`, and what more it takes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parser = argparse.ArgumentParser(prog=f"python -m {name}")
        self.parser.add_argument("--data", type=Path, required=True)
        self.parser.add_argument("--run", type=Path, required=True)

    def run(self, serve: Callable[[Layout, argparse.Namespace], Awaitable[None]]) -> None:
        """Serve until it ends. A DevboxError ends the process with its own exit code."""
        given = self.parser.parse_args()
        log_as_json(self.name)

        async def main() -> None:
            await serve(Layout(data=given.data, run=given.run), given)

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except DevboxError as error:
            log = structlog.get_logger()
            log.error("part_failed", error=error.message, hint=error.hint)
            sys.exit(error.exit_code)


def run(name: str, serve: Callable[[Layout], Awaitable[None]]) -> None:
    """Run a part that takes nothing more than its folders."""
    Part(name).run(lambda layout, _: serve(layout))
