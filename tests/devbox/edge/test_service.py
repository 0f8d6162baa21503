"""Log lines are JSON on stderr, in every task of the process; a fault has its exit code."""

import json
import subprocess
import sys

from devbox.model.errors import NoSpace

SCRIPT = """
import asyncio, structlog
from devbox.edge.service import log_as_json
log_as_json("gateway")
async def main():
    structlog.get_logger().info("something_happened", project="p")
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("it_failed")
asyncio.run(main())
"""


def test_lines() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["part"], first["event"], first["project"]) == (
        "gateway",
        "something_happened",
        "p",
    )
    assert first["timestamp"].endswith("Z")
    assert second["level"] == "error"
    assert "ZeroDivisionError" in second["exception"]
    assert done.stdout == ""


FAULTY = """
from devbox.edge.service import run
from devbox.model.errors import NoSpace
async def serve(layout):
    raise NoSpace(f"{layout.data} is full", "Free some.")
run("gateway", serve)
"""


def test_a_fault_is_told_and_has_its_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, "--data", "/a", "--run", "/b"],
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stderr)
    assert (told["event"], told["part"]) == ("part_failed", "gateway")
    assert (told["error"], told["hint"]) == ("/a is full", "Free some.")
    assert done.returncode == NoSpace.exit_code
