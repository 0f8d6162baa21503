"""`python -m node_agent.shim --data DIR --run DIR`: the commit-shim as a process."""

import argparse
import asyncio
import contextlib
import os
import signal
from pathlib import Path

from devbox.edge.layout import Layout
from devbox.edge.logs import log_json
from node_agent.shim.server import run

_NICENESS = -10


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m node_agent.shim")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--die-at", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    log_json("commit-shim")
    with contextlib.suppress(OSError):  # calls must be answered while savers use every core
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    asyncio.run(_main(Layout(data=given.data, run=given.run), given.die_at))


async def _main(layout: Layout, die_at: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def fault(step: str) -> None:
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    await run(layout, stop, fault=fault)


if __name__ == "__main__":
    main()
