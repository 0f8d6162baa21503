"""Where the embedded server keeps things, and its settings. One place names every path."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from devbox.model.errors import BadInput
from devbox.model.saves import Compression


@dataclass(frozen=True)
class Layout:
    """Paths of one embedded server. `data` survives a reboot, `run` need not.

    Uppers lie on the file system and mount of containerd's root, as overlayfs demands.
    """

    data: Path
    run: Path

    @property
    def settings(self) -> Path:
        """ServerSettings as TOML."""
        return self.data / "server.toml"

    @property
    def containerd_root(self) -> Path:
        """Content and snapshots."""
        return self.data / "containerd"

    @property
    def containerd_state(self) -> Path:
        """Shims and mounts of running containers."""
        return self.run / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Containerd's own gRPC API, CRI included; only the node agent uses it."""
        return self.run / "containerd.sock"

    @property
    def cri_socket(self) -> Path:
        """The commit-shim; the pod driver or kubelet uses it."""
        return self.run / "cri.sock"

    @property
    def orchestrator_socket(self) -> Path:
        """The controller, for the gateway."""
        return self.run / "orchestrator.sock"

    @property
    def node_socket(self) -> Path:
        """The controller, for the node agent."""
        return self.run / "node.sock"

    @property
    def kick_socket(self) -> Path:
        """Unix datagrams: the commit-shim wakes the node agent after it wrote to the journal."""
        return self.run / "kick.sock"

    @property
    def uppers(self) -> Path:
        """One directory per project uid."""
        return self.data / "uppers"

    @property
    def journal(self) -> Path:
        """The node agent's SQLite file, shared with the commit-shim."""
        return self.data / "node" / "journal.db"

    @property
    def indexes(self) -> Path:
        """One index of the last save per project uid; can be made anew."""
        return self.data / "node" / "indexes"

    @property
    def registry(self) -> Path:
        """The OCI registry's storage."""
        return self.data / "registry"

    @property
    def controller(self) -> Path:
        """The controller's SQLite file."""
        return self.data / "controller" / "controller.db"

    @property
    def builds(self) -> Path:
        """Trees from which runtimes are built; can be made anew."""
        return self.data / "builds"

    @property
    def server_state(self) -> Path:
        """What the supervisor runs, as JSON."""
        return self.run / "server.json"

    @property
    def bundle(self) -> Path:
        """The agent bundle: what boxes see at /.devbox. The shim mounts `bundle/current`."""
        return self.data / "bundle"

    @property
    def keys(self) -> Path:
        """`grant.key` (the gateway's Ed25519 key, PEM) and `admin-token`; 0600 in a 0700 dir."""
        return self.data / "keys"

    @property
    def boxes(self) -> Path:
        """One directory per pod uid, with the start record until init takes it."""
        return self.run / "boxes"

    @property
    def logs(self) -> Path:
        """One file per part, and `pods/` for what boxes write."""
        return self.data / "logs"


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the embedded server."""

    cluster: str = "home"
    region: str = "here"
    node: str = "node-1"
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 7080
    tls_cert: str = ""
    """File with the gateway's certificate chain, PEM; empty is plain HTTP."""
    tls_key: str = ""
    """File with its private key, PEM."""
    registry_port: int = 7081
    """On loopback."""
    subnet: str = "10.147.0.0/16"
    """Boxes' addresses."""
    bridge: str = "devbox0"
    keep_upper_s: float = -1.0
    """How long a stopped project's saved upper is kept; below 0: until the disk is nearly full."""
    history_saves: int = 100
    """Saves kept per project of those that people asked for; of the others, only the newest."""
    history_bytes: int = 20 << 30
    """What these saves may take per project, compressed. The newest and releases always stay."""
    box_processes: int = 8192
    """Processes and threads that one box may have; 0: any number."""
    quota_bytes: int = 20 << 30
    """What a box may write, where its project has no quota of its own; 0: any amount."""
    compression: Compression = Compression.ZSTD
    """Of new layers: `zstd`, or `gzip` for registries and container engines that need it."""
    freeze_limit_ms: int = 500
    """A live save never lets a box stand still for longer."""

    @property
    def registry_host(self) -> str:
        """As image references name it."""
        return f"127.0.0.1:{self.registry_port}"

    @property
    def gateway_reached_at(self) -> str:
        """The host by which this machine reaches the gateway, which may listen on all."""
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
        return everywhere.get(self.gateway_host, self.gateway_host)

    @property
    def gateway_url(self) -> str:
        """Where a program on this machine finds the gateway."""
        host = self.gateway_reached_at
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.gateway_port}"


def layout_below(root: str) -> Layout:
    """The layout of a server of its own directory; the default one for an empty `root`."""
    return Layout(data=Path(root) / "data", run=Path(root) / "run") if root else DEFAULT


DEFAULT = Layout(data=Path("/var/lib/devbox"), run=Path("/run/devbox"))


def read_settings(layout: Layout) -> ServerSettings:
    """The server's settings; defaults where the file is missing. Raises BadInput."""
    try:
        text = layout.settings.read_text()
    except FileNotFoundError:
        return ServerSettings()
    try:
        return msgspec.convert(tomllib.loads(text), ServerSettings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{layout.settings}: {error}", "Mend the file and try again.") from error
