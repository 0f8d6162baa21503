"""A network namespace joined to this one by a veth pair, for clients whose network changes."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Laptop:
    """A namespace with one interface, `eth0`; the host is `host_ip`."""

    name: str
    host_ip: str
    net: str
    outer: str
    """The host's end."""

    @property
    def second_ip(self) -> str:
        """The host's other address there."""
        return f"{self.net}.254"

    def run(self, *arguments: str) -> list[str]:
        """A command line that runs inside."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def link(self, state: str) -> None:
        ip("-n", self.name, "link", "set", "eth0", state)

    def rate(self, rate: str) -> None:
        """Bound both directions, such as to `40mbit`."""
        for where in (["dev", self.outer], ["dev", "eth0"]):
            prefix = ["tc"] if self.outer in where else ["tc", "-n", self.name]
            shape = ["root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms"]
            subprocess.run([*prefix, "qdisc", "replace", *where, *shape], check=True)

    @contextlib.contextmanager
    def swallowing(self) -> Iterator[None]:
        """Every packet of the client disappears, in both directions."""
        rules = """
            table inet hole {
                chain in { type filter hook input priority 0; iifname "eth0" drop; }
                chain out { type filter hook output priority 0; oifname "eth0" drop; }
            }
        """
        subprocess.run(self.run("nft", "-f", "-"), input=rules, text=True, check=True)
        try:
            yield
        finally:
            subprocess.run(self.run("nft", "delete", "table", "inet", "hole"), check=True)

    def carried_bytes(self) -> int:
        """What the client has sent and received so far."""
        counters = Path("/sys/class/net", self.outer, "statistics")
        return sum(int((counters / f"{way}_bytes").read_text()) for way in ("rx", "tx"))

    def knows(self, host: str, *addresses: str) -> None:
        """A name in the namespace's /etc/hosts, with all its addresses."""
        folder = Path("/etc/netns", self.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{one} {host}\n" for one in addresses)
        )

    def move(self, old: int, new: int) -> None:
        """Change the last number of its address."""
        ip("-n", self.name, "addr", "del", f"{self.net}.{old}/24", "dev", "eth0")
        ip("-n", self.name, "addr", "add", f"{self.net}.{new}/24", "dev", "eth0")


@contextlib.contextmanager
def laptop() -> Iterator[Laptop]:
    """Its address ends in 2. Gone afterwards, whatever happens."""
    number = os.getpid() % 250
    made = Laptop(
        f"devbox-t{os.getpid()}", f"198.18.{number}.1", f"198.18.{number}", f"dbt{os.getpid()}"
    )
    try:
        ip("netns", "add", made.name)
        ip("link", "add", made.outer, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        ip("addr", "add", f"{made.host_ip}/24", "dev", made.outer)
        ip("addr", "add", f"{made.second_ip}/24", "dev", made.outer)
        ip("link", "set", made.outer, "up")
        ip("-n", made.name, "addr", "add", f"{made.net}.2/24", "dev", "eth0")
        ip("-n", made.name, "link", "set", "lo", "up")
        made.link("up")
        yield made
    finally:
        subprocess.run(["ip", "link", "del", made.outer], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", made.name], check=False, capture_output=True)
        shutil.rmtree(Path("/etc/netns", made.name), ignore_errors=True)
