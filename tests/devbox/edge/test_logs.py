"""Log lines are JSON on stderr, in every task of the process."""

import json
import subprocess
import sys

SCRIPT = """
import asyncio, structlog
from devbox.edge.logs import log_json
log_json("gateway")
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
