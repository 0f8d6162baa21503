"""A network namespace joined to this one by a veth pair, for clients whose network changes."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Laptop:
    """A namespace with one interface, `eth0`; the host is `host_ip`."""

    name: str
    host_ip: str
    net: str

    def run(self, *arguments: str) -> list[str]:
        """A command line that runs inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def link(self, state: str) -> None:
        ip("-n", self.name, "link", "set", "eth0", state)

    def move(self, old: int, new: int) -> None:
        """Change the last number of its address."""
        ip("-n", self.name, "addr", "del", f"{self.net}.{old}/24", "dev", "eth0")
        ip("-n", self.name, "addr", "add", f"{self.net}.{new}/24", "dev", "eth0")


@contextlib.contextmanager
def laptop() -> Iterator[Laptop]:
    """Its address ends in 2. Gone afterwards, whatever happens."""
    number = os.getpid() % 250
    made = Laptop(f"devbox-t{os.getpid()}", f"198.18.{number}.1", f"198.18.{number}")
    outer = f"dbt{os.getpid()}"
    try:
        ip("netns", "add", made.name)
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        ip("addr", "add", f"{made.host_ip}/24", "dev", outer)
        ip("link", "set", outer, "up")
        ip("-n", made.name, "addr", "add", f"{made.net}.2/24", "dev", "eth0")
        ip("-n", made.name, "link", "set", "lo", "up")
        made.link("up")
        yield made
    finally:
        subprocess.run(["ip", "link", "del", outer], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", made.name], check=False, capture_output=True)
