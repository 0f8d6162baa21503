"""Starts the controller."""

from controller.server import serve
from devbox.edge.service import run

if __name__ == "__main__":
    run("controller", serve)
