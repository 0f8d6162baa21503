"""The agent's start: take the record from init, give init its plan, serve.

Modules that cost time or memory are imported only after the plan is given.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from devbox.model.nodes import AGENT_PORT, StartRecord
from in_box_agent.init.plan import plan

_READ_BYTES = 1 << 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="devbox-agent", description=__doc__)
    parser.add_argument("--record-fd", type=int, required=True, help="holds the start record")
    parser.add_argument("--plan-fd", type=int, help="where init waits for its plan")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=AGENT_PORT)
    options = parser.parse_args(arguments)
    record = msgspec.json.decode(_take(options.record_fd), type=StartRecord)
    inherited = _started_with()
    if options.plan_fd is not None:
        _give(options.plan_fd, plan(record, inherited, os.getcwd()))
    os.chdir("/")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    from in_box_agent.serve import run

    run(record, inherited, options.host, options.port)
    sys.stderr.flush()
    # All is closed. Taking the interpreter apart would only keep the box from being down.
    os._exit(0)


def _take(fd: int) -> bytes:
    """Read and close: no process started later can find the record."""
    pieces = []
    while piece := os.read(fd, _READ_BYTES):
        pieces.append(piece)
    os.close(fd)
    return b"".join(pieces)


def _started_with() -> dict[str, str]:
    """The environment from init. Python adds to `os.environ` what suits itself (PEP 538)."""
    try:
        with open("/proc/self/environ", encoding="utf-8", errors="surrogateescape") as file:
            entries = file.read().split("\0")
    except OSError:
        return dict(os.environ)
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def _give(fd: int, answer: bytes) -> None:
    while answer:
        answer = answer[os.write(fd, answer) :]
    os.close(fd)


if __name__ == "__main__":
    main()
