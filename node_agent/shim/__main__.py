"""`python -m node_agent.shim --data DIR --run DIR`: the commit-shim as a process."""

import argparse
import asyncio

from devbox.edge.layout import Layout
from devbox.edge.priority import answer_at_once
from devbox.edge.service import Part, on_end
from node_agent.faults import die_at
from node_agent.shim.server import run

_NICENESS = -10


async def _serve(layout: Layout, at: str) -> None:
    answer_at_once(_NICENESS)  # calls must be answered while savers use every core
    stop = asyncio.Event()
    on_end(stop.set)

    await run(layout, stop, fault=die_at(at))


if __name__ == "__main__":
    part = Part("node_agent.shim")
    part.parser.add_argument("--die-at", default="", help=argparse.SUPPRESS)
    part.run(lambda layout, given: _serve(layout, given.die_at))
