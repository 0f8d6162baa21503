"""A network namespace joined to this one by a veth pair, for clients whose network changes."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
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
    made = _named()
    try:
        ip("netns", "add", made.name)
        ip("link", "add", made.outer, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        _address(made)
        yield made
    finally:
        _remove(made)


@contextlib.contextmanager
def roaming_laptop() -> Iterator[tuple[Laptop, "Air"]]:
    """As `laptop`, on a network that can be made bad."""
    made = _named()
    ends = (f"{made.outer}a", f"{made.outer}b")
    with contextlib.ExitStack() as stack:
        stack.callback(_remove, made)
        ip("netns", "add", made.name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", "eth0", "netns", made.name)
        ip("link", "add", made.outer, "type", "veth", "peer", "name", ends[1])
        for end in ends:
            ip("link", "set", end, "up")
        plain = "from tests.support.rough import plain; import sys; plain(sys.argv[1])"
        subprocess.run([sys.executable, "-c", plain, made.outer], check=True)
        subprocess.run(made.run(sys.executable, "-c", plain, "eth0"), check=True)
        _address(made)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.rough", *ends],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.communicate)
        air = Air(process)
        air.hear("joined")
        yield made, air


@dataclass(frozen=True)
class Air:
    """What is between the laptop and the host."""

    process: "subprocess.Popen[str]"

    def hear(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def become(self, **weather: float) -> None:
        """`rough.Weather`'s fields; what is not named is good."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(weather) + "\n")
        self.process.stdin.flush()
        self.hear("changed")


def _named() -> Laptop:
    number = os.getpid() % 250
    return Laptop(
        f"devbox-t{os.getpid()}",
        f"198.18.{number}.1",
        f"198.18.{number}",
        f"dbt{os.getpid()}",
    )


def _address(made: Laptop) -> None:
    ip("addr", "add", f"{made.host_ip}/24", "dev", made.outer)
    ip("addr", "add", f"{made.second_ip}/24", "dev", made.outer)
    ip("link", "set", made.outer, "up")
    ip("-n", made.name, "addr", "add", f"{made.net}.2/24", "dev", "eth0")
    ip("-n", made.name, "link", "set", "lo", "up")
    made.link("up")


def _remove(made: Laptop) -> None:
    for end in (made.outer, f"{made.outer}a"):
        subprocess.run(["ip", "link", "del", end], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", made.name], check=False, capture_output=True)
    shutil.rmtree(Path("/etc/netns", made.name), ignore_errors=True)
