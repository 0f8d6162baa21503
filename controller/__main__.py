"""Starts the controller: `python -m controller --data DIR --run DIR`."""

import argparse
import asyncio
import sys
from pathlib import Path

import structlog
import uvloop

from controller.server import run
from devbox.edge.layout import DEFAULT, Layout
from devbox.model.errors import DevboxError


def main() -> int:
    """Parse the two folders and run."""
    parser = argparse.ArgumentParser(prog="controller", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT.data)
    parser.add_argument("--run", type=Path, default=DEFAULT.run)
    chosen = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    layout = Layout(data=chosen.data, run=chosen.run)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(layout))
    except DevboxError as error:
        structlog.get_logger().error("controller_failed", error=error.message, hint=error.hint)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
