"""`python -m node_agent --data DIR --run DIR`: the node agent of one machine."""

from devbox.edge.service import run
from node_agent.agent.main import serve

if __name__ == "__main__":
    run("node_agent", serve)
