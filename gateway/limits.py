"""Bounds: wrong credentials per client, links per token and per client, links in all. Pure."""

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
    """Links that are open or being opened: per token, per client address, and in all.

    Clients count as in `Failures`, and `spared` ones only in all.
    """

    def __init__(
        self,
        per_token: int = 256,
        per_client: int = 2048,
        in_all: int = 8000,
        spared: tuple[str, ...] = (),
    ) -> None:
        self._per_token = per_token
        self._per_client = per_client
        self._in_all = in_all
        self._spared = frozenset(network(address) for address in spared)
        self._of_token: Counter[str] = Counter()
        self._of_client: Counter[str] = Counter()
        self.total = 0

    def take(self, token: str, address: str) -> bool:
        """Take a place, if there is one."""
        client = network(address)
        full = self._of_client[client] >= self._per_client and client not in self._spared
        if full or self.total >= self._in_all or self._of_token[token] >= self._per_token:
            return False
        self._of_token[token] += 1
        self._of_client[client] += 1
        self.total += 1
        return True

    def give(self, token: str, address: str) -> None:
        """Give a place back."""
        self.total -= 1
        for counts, name in ((self._of_token, token), (self._of_client, network(address))):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
