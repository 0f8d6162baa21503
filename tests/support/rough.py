"""A bad network in user space: `python -m tests.support.rough ONE TWO` joins two interfaces.

Stands where netem would, on kernels without it. Reads settings as lines of JSON from stdin and ends
with it. Each packet of either direction may be lost, doubled, delayed, overtaken, and waits for the
bandwidth there is. Packets must arrive whole: offloading is switched off by `plain`.
"""

import ctypes
import fcntl
import heapq
import itertools
import json
import random
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, replace

_ALL = 3
_OUTGOING = 4
_QUEUE = 2000
"""Packets that wait in one direction; more are lost, as in a router."""
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24)
"""Set transmit checksums, TSO, GSO (linux/ethtool.h)."""


@dataclass(frozen=True)
class Weather:
    """What befalls packets. Chances are from 0 to 1."""

    delay_ms: float = 0.0
    """One way."""
    jitter_ms: float = 0.0
    loss: float = 0.0
    double: float = 0.0
    overtake: float = 0.0
    """Not delayed, so in front of those before."""
    mbit: float = 0.0
    """0 is as much as comes."""


class Way:
    """One direction."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self._waiting: list[tuple[float, int, bytes]] = []
        self._numbers = itertools.count()
        self._free_at = 0.0
        self._last = 0.0

    def take(self, weather: Weather, now: float) -> None:
        """A packet came."""
        packet, address = self.source.recvfrom(65536)
        if address[2] == _OUTGOING or random.random() < weather.loss:
            return
        for _ in range(2 if random.random() < weather.double else 1):
            if len(self._waiting) < _QUEUE:
                due = self._due(len(packet), weather, now)
                heapq.heappush(self._waiting, (due, next(self._numbers), packet))

    def _due(self, size: int, weather: Weather, now: float) -> float:
        self._free_at = max(self._free_at, now)
        if weather.mbit:
            self._free_at += size * 8e-6 / weather.mbit
        if random.random() < weather.overtake:
            return self._free_at
        jitter = random.uniform(-weather.jitter_ms, weather.jitter_ms)
        due = self._free_at + max(0.0, weather.delay_ms + jitter) / 1e3
        self._last = max(self._last, due)
        return self._last

    def give(self, now: float) -> None:
        """Send what is due."""
        while self._waiting and self._waiting[0][0] <= now:
            packet = heapq.heappop(self._waiting)[2]
            try:
                self.sink.send(packet)
            except OSError:
                continue  # the interface is down

    @property
    def next_at(self) -> float:
        """When the next is due."""
        return self._waiting[0][0] if self._waiting else float("inf")


def plain(name: str) -> None:
    """Have an interface send whole packets with checksums, as a wire wants them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            buffer = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", name.encode(), ctypes.addressof(buffer))
            fcntl.ioctl(control, _SIOCETHTOOL, request.ljust(40, b"\0"))


def _bound(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    sock.bind((name, _ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return sock


def main(one: str, two: str) -> None:
    """Until stdin ends."""
    ends = (_bound(one), _bound(two))
    ways = {ends[0]: Way(*ends), ends[1]: Way(*reversed(ends))}
    weather = Weather()
    print("joined", flush=True)
    while True:
        now = time.monotonic()
        wait = max(0.0, min(way.next_at for way in ways.values()) - now)
        ready, _, _ = select.select([*ends, sys.stdin], [], [], min(wait, 1.0))
        now = time.monotonic()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            weather = replace(Weather(), **json.loads(line))
            print("changed", flush=True)
        for end in ends:
            if end in ready:
                try:
                    ways[end].take(weather, now)
                except OSError:
                    continue  # the interface went down
        for way in ways.values():
            way.give(time.monotonic())


if __name__ == "__main__":
    main(*sys.argv[1:])
