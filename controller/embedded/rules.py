"""The packet filter of the boxes' network, as nftables text. Pure.

Every box has its own link to the host (CNI `ptp`), so whatever goes between two boxes is forwarded
and passes here. The whole table is replaced in one transaction, so there is no moment without it.
A box that the table does not know reaches no other one. The registry asks for no password, so of
this machine only root reaches it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from devbox.model.nodes import AGENT_PORT

DNS_PORT = 53
METADATA = ("169.254.0.0/16", "100.100.100.200", "168.63.129.16")
"""Where clouds tell a machine its own credentials: link-local, and two clouds' own addresses."""


@dataclass(frozen=True)
class Neighbour:
    """Whose box an address is."""

    namespace: str
    project: str


@dataclass(frozen=True)
class Net:
    """The boxes' network."""

    subnet: IPv4Network
    bridge: str
    gateway_port: int
    registry_port: int

    @property
    def gateway(self) -> str:
        """The host's address in it, where boxes ask for names."""
        return str(self.subnet[1])

    @property
    def table(self) -> str:
        """The name of the nftables table."""
        return f"devbox_{self.bridge}"


def ruleset(net: Net, boxes: Mapping[str, Neighbour]) -> str:
    """Input for `nft -f`: replaces the table by one that knows these boxes (address -> whose)."""
    table, subnet = net.table, net.subnet
    return f"""\
table inet {table} {{ }}
delete table inet {table}
table inet {table} {{
{_namespaces(boxes)}
  chain origin {{
    type filter hook prerouting priority raw; policy accept;
    iifname "veth*" meta nfproto ipv4 fib saddr . iif oif missing drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    ip daddr {subnet} tcp dport {AGENT_PORT} drop
    ct state established,related accept
    ip saddr {subnet} ip daddr {{ {", ".join(METADATA)} }} drop
    ip saddr {subnet} ip daddr {subnet} ip saddr vmap @namespace_of
    ip daddr {subnet} drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ip saddr != {subnet} accept
    fib saddr type local accept
    ct state established,related accept
    ip daddr {net.gateway} udp dport {DNS_PORT} accept
    ip daddr {net.gateway} tcp dport {{ {DNS_PORT}, {net.gateway_port} }} accept
    meta nfproto ipv4 icmp type echo-request accept
    ip saddr {subnet} drop
  }}
  chain own {{
    type filter hook output priority filter; policy accept;
    oifname "lo" tcp dport {net.registry_port} meta skuid != 0 reject with tcp reset
  }}
  chain outgoing {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} ip daddr != {subnet} masquerade
  }}
}}
"""


def _namespaces(boxes: Mapping[str, Neighbour]) -> str:
    members: dict[str, list[str]] = {}
    for address, box in sorted(boxes.items()):
        members.setdefault(box.namespace, []).append(address)
    chains = [
        f"  chain ns_{namespace.replace('-', '_')}_{number} {{"
        f" ip daddr {{ {', '.join(addresses)} }} accept; drop; }}"
        for number, (namespace, addresses) in enumerate(members.items())
    ]
    jumps = [
        f"{address} : jump ns_{namespace.replace('-', '_')}_{number}"
        for number, (namespace, addresses) in enumerate(members.items())
        for address in addresses
    ]
    elements = f" elements = {{ {', '.join(jumps)} }}" if jumps else ""
    kind = f"  map namespace_of {{ type ipv4_addr : verdict;{elements} }}"
    return "\n".join([*chains, kind])
