"""`python -m node_agent --data DIR --run DIR`: the node agent of one machine."""

import argparse

from devbox.edge.service import Part
from node_agent.agent.main import serve

if __name__ == "__main__":
    part = Part("node_agent")
    part.parser.add_argument("--die-at", default="", help=argparse.SUPPRESS)
    part.run(lambda layout, given: serve(layout, given.die_at))
