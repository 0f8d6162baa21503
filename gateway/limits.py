"""Bounds: failed credentials per client address, links per token, links in all. Pure."""

import ipaddress
from collections import Counter, OrderedDict

_WINDOW_S = 60.0


class Failures:
    """Counts wrong credentials per client address and minute, for a bounded number of addresses.

    An IPv6 client counts by its /64, which one person usually has whole. `spared` addresses are
    never counted: behind a proxy on this machine everybody comes from loopback, and one of them
    must not lock the others out.
    """

    def __init__(
        self, most: int = 60, addresses: int = 10_000, spared: tuple[str, ...] = ()
    ) -> None:
        self._most = most
        self._spared = frozenset(network(address) for address in spared)
        self._addresses = addresses
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str, now: float) -> float:
        """How long this address must wait; 0 when it need not."""
        since, count = self._counts.get(network(address), (now, 0))
        if count < self._most or now >= since + _WINDOW_S:
            return 0.0
        return since + _WINDOW_S - now

    def note(self, address: str, now: float) -> None:
        """A wrong credential came from this address."""
        key = network(address)
        if key in self._spared:
            return
        since, count = self._counts.get(key, (now, 0))
        if now >= since + _WINDOW_S:
            since, count = now, 0
        self._counts[key] = (since, count + 1)
        self._counts.move_to_end(key)
        if len(self._counts) > self._addresses:
            self._counts.popitem(last=False)


def network(address: str) -> str:
    """What counts as one client."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


class Places:
    """Links that are open or being opened: per token, and in all."""

    def __init__(self, per_token: int = 256, in_all: int = 8000) -> None:
        self._per_token = per_token
        self._in_all = in_all
        self._taken: Counter[str] = Counter()
        self.total = 0

    def take(self, token: str) -> bool:
        """Take a place, if there is one."""
        if self.total >= self._in_all or self._taken[token] >= self._per_token:
            return False
        self._taken[token] += 1
        self.total += 1
        return True

    def give(self, token: str) -> None:
        """Give a place back."""
        self.total -= 1
        self._taken[token] -= 1
        if not self._taken[token]:
            del self._taken[token]
