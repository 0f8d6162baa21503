"""The boxes' network on this machine: CNI's configuration, the host's address, the packet filter.

Owns the table of who has which address. What it makes stays when the controller ends, since boxes
go on; `remove` is for when the server goes down and takes them along.
"""

import asyncio
import json
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from controller.embedded.rules import Neighbour, Net, ruleset
from devbox.edge.layout import Layout, ServerSettings
from devbox.model.errors import Unavailable

_log = structlog.get_logger()
CONFLIST = "10-devbox.conflist"
_TOOL_S = 20.0


def net_of(settings: ServerSettings) -> Net:
    """The network that the settings describe."""
    return Net(
        subnet=IPv4Network(settings.subnet),
        bridge=settings.bridge,
        gateway_port=settings.gateway_port,
        registry_port=settings.registry_port,
    )


def conflist(net: Net, leases: Path) -> str:
    """CNI network configuration list (CNI 1.0): one routed link for each box."""
    plugin = {
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(leases),
            "ranges": [[{"subnet": str(net.subnet), "gateway": net.gateway}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": net.bridge, "plugins": [plugin]}, indent=1)


class Network:
    """Knows every box's address and keeps the filter as it must be."""

    def __init__(self, net: Net, cni: Path) -> None:
        self.net = net
        self._leases = cni / "ipam"
        self.conflists = cni / "net.d"
        self._boxes: dict[str, Neighbour] = {}
        self._apply = asyncio.Lock()
        self._applied: dict[str, Neighbour] | None = None

    @classmethod
    def of(cls, layout: Layout, settings: ServerSettings) -> "Network":
        """The network of an embedded server."""
        return cls(net_of(settings), layout.run / "cni")

    async def set_up(self) -> None:
        """Write CNI's configuration, give the host its address, close the filter.

        Raises Unavailable with what the tool said.
        """
        self.conflists.mkdir(parents=True, exist_ok=True)
        text = conflist(self.net, self._leases)
        path = self.conflists / CONFLIST
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        name = self.net.bridge
        # A bridge without ports: it only carries the address where the boxes' names are served.
        await _run("ip", "link", "add", name, "type", "bridge", known="File exists")
        await _run("ip", "address", "replace", f"{self.net.gateway}/32", "dev", name)
        await _run("ip", "link", "set", name, "up")
        await self.apply()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    async def join(self, address: str, box: Neighbour) -> None:
        """A box has this address now."""
        self._boxes[address] = box
        await self.apply()

    async def leave(self, box: Neighbour) -> None:
        """A project's box is gone."""
        self._boxes = {address: known for address, known in self._boxes.items() if known != box}
        await self.apply()

    async def apply(self) -> None:
        """Bring the filter to what is known. Many calls at once become few."""
        async with self._apply:
            boxes = dict(self._boxes)
            if boxes != self._applied:
                await _run("nft", "-f", "-", text=ruleset(self.net, boxes))
                self._applied = boxes

    def whose(self, address: str) -> Neighbour | None:
        """Whose box an address is."""
        return self._boxes.get(address)

    def address_of(self, box: Neighbour) -> str | None:
        """Where a project's box is."""
        return next((address for address, known in self._boxes.items() if known == box), None)

    async def remove(self) -> None:
        """Take the filter and the host's address away."""
        await _run("nft", "delete", "table", "inet", self.net.table, known="No such file")
        await _run("ip", "link", "delete", self.net.bridge, known="Cannot find device")


async def _run(*command: str, text: str = "", known: str = "") -> None:
    # In a thread: the event loop's own way to start processes runs gRPC's fork handlers.
    try:
        done = await asyncio.to_thread(
            subprocess.run, command, input=text, capture_output=True, text=True, timeout=_TOOL_S
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"{command[0]} is not installed", "Install it (`make up` does) and start again."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} did not end within {_TOOL_S:.0f} s") from error
    said = done.stderr.strip()
    if done.returncode and not (known and known in said):
        _log.error("network_command_failed", command=" ".join(command), said=said)
        raise Unavailable(
            f"{command[0]} failed: {said[:300]}",
            "Boxes that run are not touched. `devbox doctor` looks at the network.",
        )
