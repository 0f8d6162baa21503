"""`devbox ssh --stdio` says good-bye when it is told to end, and never waits long for it."""

import signal
import subprocess
import sys

import pytest

from devbox.cli.stdio import Pipes

_PROXY = """
import asyncio
from devbox.cli import stdio

async def serve(wanted, service, params):
    try:
        print("serving", flush=True)
        await asyncio.Event().wait()
    finally:
        print("good-bye", flush=True)
        await asyncio.sleep({farewell})

stdio._serve = serve
raise SystemExit(stdio.serve_stdio(None))
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("farewell", [0, 60])
def test_a_signal_ends_it_after_a_bounded_farewell(number: signal.Signals, farewell: int) -> None:
    code = _PROXY.format(farewell=farewell)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as proxy:
        try:
            assert proxy.stdout is not None
            assert proxy.stdout.readline() == b"serving\n"
            proxy.send_signal(number)
            assert proxy.stdout.readline() == b"good-bye\n"
            assert proxy.wait(timeout=10) == 128 + number
        finally:
            proxy.kill()


def test_pipes_are_widened_only_where_much_goes_through() -> None:
    slow, fast = Pipes(), Pipes()
    assert not any(slow.carried(1 << 20, now / 10) for now in range(100))
    widened = [fast.carried(1 << 20, now / 100) for now in range(100)]
    assert widened.count(True) == 1
