"""More gateways of a running server: real processes, each at an address of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devbox.edge.layout import Layout
from tests.support.box import wait_for
from tests.support.server import Server

_SETTINGS = """
cluster = "{cluster}"
region = "{region}"
gateway_host = "{host}"
gateway_port = {port}
"""


@dataclass
class Replica:
    """One gateway process."""

    process: subprocess.Popen[bytes]
    host: str
    port: int

    def kill(self) -> None:
        """SIGKILL: it says good-bye to nobody."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@contextlib.contextmanager
def replica(server: Server, host: str, port: int) -> Iterator[Replica]:
    """A gateway with the server's keys and controller. Killed afterwards."""
    with tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp") as place:
        layout = Layout(data=Path(place), run=server.layout.run)
        layout.keys.symlink_to(server.layout.keys)
        known = server.settings
        layout.settings.write_text(
            _SETTINGS.format(cluster=known.cluster, region=known.region, host=host, port=port)
        )
        folders = ("--data", str(layout.data), "--run", str(layout.run))
        log = os.environ.get("KEEP_LOGS", "")
        with open(Path(log, f"gateway-{host}.log") if log else os.devnull, "ab") as said:
            process = subprocess.Popen([sys.executable, "-m", "gateway", *folders], stderr=said)
        made = Replica(process, host, port)
        try:
            wait_for(lambda: _answers(host, port), f"the gateway at {host}", 30.0)
            yield made
        finally:
            made.kill()
