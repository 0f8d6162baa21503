"""How a part of the server starts: two folders, JSON lines on stderr, one exit code per fault."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import uvloop

from devbox.edge.layout import Layout
from devbox.model.errors import DevboxError


def log_as_json() -> None:
    """One JSON object per line on stderr."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def run(name: str, serve: Callable[[Layout], Awaitable[None]]) -> None:
    """Parse `--data DIR --run DIR` and serve until it ends; ends the process."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    given = parser.parse_args()
    log_as_json()

    async def main() -> None:
        await serve(Layout(data=given.data, run=given.run))

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except DevboxError as error:
        structlog.get_logger().error("part_failed", part=name, error=error.message, hint=error.hint)
        sys.exit(error.exit_code)
