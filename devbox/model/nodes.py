"""What the controller and a node tell each other.

The node agent pulls: it asks for its orders (a long poll), carries them out, and reports. Orders
say what should be, so hearing one twice does no harm.
"""

from typing import Protocol

import msgspec

from devbox.model.disk import Disk
from devbox.model.orchestrator import Nothing
from devbox.model.projects import Image, ImageConfig, WhenBusy
from devbox.model.runtimes import Runtime
from devbox.model.saves import Save, SaveDiff, SaveReason

AGENT_PORT = 4242
"""TCP port on which the agent waits for the gateway, on the box's own IP address."""

BOX_DIRECTORY = "/.devbox/box"
"""In the box: a small tmpfs with the start record, which init takes and deletes."""

UPPER_NONCE_XATTR = "user.devbox.upper"
"""On the root of a linked upper: the nonce of the start record. Never in a save."""


class StartRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What init and the agent must know. Given in memory; in no save, image or argument."""

    project_uid: str
    cluster: str
    region: str
    namespace: str
    project: str
    generation: int
    host_key: str
    """The project's private SSH host key, OpenSSH's PEM."""
    grant_keys: tuple[str, ...]
    """Ed25519 public keys of the gateways, base64 of the 32 raw bytes."""
    config: ImageConfig
    env: dict[str, str]
    run_image_command: bool
    upper_nonce: str = ""
    """Set by the commit-shim when it links the upper; empty means: refuse to serve."""


class BoxRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pod that the controller made for a project. Only such a pod is a box."""

    pod_uid: str
    project_uid: str
    namespace: str
    project: str
    generation: int
    image: Image
    """What the upper stands on."""
    needs_upper: bool = False
    """The node said that it keeps an upper: without it the box would start with too few files."""
    start: StartRecord


class BoxKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names one pod."""

    pod_uid: str


class SaveOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Save this project's upper."""

    order_id: str
    project_uid: str
    generation: int
    reason: SaveReason
    when_busy: WhenBusy
    tags: tuple[str, ...] = ()
    """Further tags for the image, such as `release-v1`."""


class RestoreOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Record an earlier save as the newest one, and give the upper up, which is saved before."""

    order_id: str
    project_uid: str
    generation: int
    save: Save
    image: Image
    """Of `save`."""


class DiffOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare two saves of a project. Somebody waits for the answer; late, it is of no use."""

    order_id: str
    older_seq: int
    newer_seq: int
    older: Image
    newer: Image
    after: str
    limit: int


class DiffAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a DiffOrder found, or a sentence why it could not."""

    order_id: str
    diff: SaveDiff | None = None
    failure: str = ""


class DiskOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tell who uses what of the disk. Somebody waits for the answer; late, it is of no use."""

    order_id: str


class DiskAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a DiskOrder found, projects by uid alone; or a sentence why it could not."""

    order_id: str
    disk: Disk | None = None
    failure: str = ""


class DropOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The project is deleted: remove upper, journal rows, images and its registry repository."""

    project_uid: str


class ForgetOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A save is no part of the history any more: remove its image from the registry."""

    project_uid: str
    digest: str
    seq: int
    """Of the save. A later one of the same digest keeps the image."""


class PrepareOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Have this image in a project's own repository, so that it outlives where it came from."""

    project_uid: str
    image: Image


class BuildOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Build a built-in runtime, or pull the image an added one names."""

    name: str
    source: str
    """As in Runtime."""
    attempt: int
    """A higher one builds again."""


class AutosaveRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A running project's autosave."""

    project_uid: str
    generation: int
    minutes: int
    when_busy: WhenBusy


class QuotaRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a running project's box may write."""

    project_uid: str
    generation: int
    bytes: int
    """Of changed files, as they lie on the disk."""


class OverQuota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A box that has written all that it may: it is to be stopped."""

    project_uid: str
    generation: int
    used_bytes: int
    quota_bytes: int


class Orders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that should be on this node now."""

    revision: int
    saves: tuple[SaveOrder, ...] = ()
    restores: tuple[RestoreOrder, ...] = ()
    diffs: tuple[DiffOrder, ...] = ()
    disks: tuple[DiskOrder, ...] = ()
    drops: tuple[DropOrder, ...] = ()
    forgets: tuple[ForgetOrder, ...] = ()
    prepares: tuple[PrepareOrder, ...] = ()
    builds: tuple[BuildOrder, ...] = ()
    autosaves: tuple[AutosaveRule, ...] = ()
    quotas: tuple[QuotaRule, ...] = ()
    collectable: tuple[str, ...] = ()
    """Project uids whose upper is to be given back: they have been stopped for long enough."""
    evictable: tuple[str, ...] = ()
    """Project uids whose upper may go when the disk runs low, longest stopped first."""


class AskOrders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wait for orders newer than `revision`, `wait_s` at most."""

    node: str
    revision: int
    wait_s: float = 20.0


class UpperReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upper that the node keeps."""

    project_uid: str
    generation: int
    """Of the last box that used it."""
    image: Image
    """What it stands on."""
    bytes: int
    in_use: bool


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """News of a node. Sent again until the controller answered."""

    node: str
    uppers: tuple[UpperReport, ...] | None = None
    """All of them, when told."""
    saves: tuple[Save, ...] = ()
    """Saves that moved. A recorded image's description comes in `images`."""
    images: tuple[tuple[str, int, Image], ...] = ()
    """(project uid, save seq, image) of pushed saves."""
    diffs: tuple[DiffAnswer, ...] = ()
    disks: tuple[DiskAnswer, ...] = ()
    full: tuple[OverQuota, ...] = ()
    dropped: tuple[str, ...] = ()
    """Project uids that are gone from node and registry."""
    forgotten: tuple[ForgetOrder, ...] = ()
    """Carried out, or needless."""
    prepared: tuple[tuple[str, Image], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    """(order id or project uid, sentence): orders that can never be carried out."""
    runtimes: tuple[Runtime, ...] = ()
    """Runtimes whose state or progress changed; the first report tells all the node can build."""


class NodeOrders(Protocol):
    """The controller's side for nodes."""

    async def box(self, request: BoxKey) -> BoxRecord:
        """The box of a pod. NotFound when the pod is not a box. Answers within milliseconds."""

    async def orders(self, request: AskOrders) -> Orders:
        """The node's orders."""

    async def report(self, request: Report) -> Nothing:
        """Take news. When it answers, the controller has it on disk."""
