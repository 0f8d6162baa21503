"""The node agent as a process, with a real registry and a controller that remembers what it heard.

For tests that kill it: nothing of the node is in the test's process but the fake controller.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import psutil

from devbox.edge import rpc
from devbox.edge.layout import Layout
from devbox.edge.registry import Registry
from devbox.model.errors import NotFound
from devbox.model.nodes import AskOrders, BoxKey, BoxRecord, NodeOrders, Orders, Report
from devbox.model.orchestrator import Nothing
from devbox.model.projects import Image
from devbox.model.saves import Save, SaveStep
from node_agent.collector.storage import Ages, Storage
from node_agent.journal import Journal
from tests.support.registry import RegistryServer
from tests.support.saved_images import unpack_with_umoci
from tests.support.trees import differences, facts

_PATIENCE_S = 90.0
_WORKER = "node_agent.saver.worker"
_STUBS = frozenset(
    {b"", b".devbox", b"dev", b"etc", b"proc", b"sys"}
    | {b"etc/hostname", b"etc/hosts", b"etc/resolv.conf"}
)
"""Mount points of CRI and runc, and directories whose times these change; no save has them."""


class Hearing(NodeOrders):
    """Gives orders, and keeps saves as a controller does: what is recorded stays so."""

    def __init__(self) -> None:
        self.records: dict[str, BoxRecord] = {}
        self.saves: dict[tuple[str, int], Save] = {}
        self.images: dict[tuple[str, int], Image] = {}
        self.uppers: set[str] = set()
        self._orders = Orders(revision=1)
        self._changed = asyncio.Event()

    async def box(self, request: BoxKey) -> BoxRecord:
        if request.pod_uid not in self.records:
            raise NotFound("no such box")
        return self.records[request.pod_uid]

    async def orders(self, request: AskOrders) -> Orders:
        if request.revision == self._orders.revision:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(request.wait_s, 1.0)):
                    await self._changed.wait()
        self._changed.clear()
        return self._orders

    def order(self, **facts: object) -> None:
        """From now on these are the orders."""
        self._orders = msgspec.structs.replace(Orders(revision=self._orders.revision + 1), **facts)
        self._changed.set()

    async def report(self, request: Report) -> Nothing:
        self.uppers = {upper.project_uid for upper in request.uppers or ()}
        for uid, seq, image in request.images:
            self.images[uid, seq] = image
        for save in request.saves:
            known = self.saves.get((save.project_uid, save.seq))
            if known is None or known.step is not SaveStep.RECORDED:
                self.saves[save.project_uid, save.seq] = save
        return Nothing()

    def recorded(self, uid: str) -> list[Save]:
        """Saves of a project whose image is known, in order."""
        steps = (SaveStep.PUSHED, SaveStep.RECORDED)
        return [
            save
            for (owner, seq), save in sorted(self.saves.items())
            if owner == uid and save.step in steps and (uid, seq) in self.images
        ]


class NodeParts:
    """Node agent and registry as processes. `layout` may be that of a running containerd."""

    def __init__(self, layout: Layout, registry: RegistryServer, controller: Hearing) -> None:
        self.layout = layout
        self.registry = registry
        self.controller = controller
        self.open_journal()
        self.agent: subprocess.Popen[bytes] | None = None

    def open_journal(self) -> None:
        """As another process of the node has it."""
        self.journal = Journal.open(self.layout.journal)

    def start_agent(self, die_at: str = "") -> subprocess.Popen[bytes]:
        """Start it; a test may let it, or its workers, die after a step."""
        command = [sys.executable, "-m", "node_agent", "--die-at", die_at]
        command += ["--data", str(self.layout.data), "--run", str(self.layout.run)]
        with (self.layout.data.parent / "node_agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=Path(__file__).parents[2]
            )
        return self.agent

    def kill_agent(self) -> None:
        """SIGKILL it. Its workers end by themselves."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
            self.agent = None

    def kill_worker(self) -> bool:
        """SIGKILL one of its workers; False when there is none."""
        assert self.agent is not None
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.agent.pid).children():
                if _WORKER in child.cmdline():
                    child.kill()
                    return True
        return False

    def log(self) -> str:
        """What the node agent wrote so far."""
        return (self.layout.data.parent / "node_agent.log").read_text(errors="replace")

    async def until(self, seen: Callable[[], bool], what: str) -> None:
        """Wait for something."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not seen():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not: {what}\n{self.log()[-4000:]}") from None

    async def settled(self, uid: str) -> None:
        """All saves of a project are recorded, and its upper holds nothing more."""

        def seen() -> bool:
            upper = self.journal.upper(uid)
            return not self.journal.open_saves(uid) and (upper is None or not upper.dirty)

        await self.until(seen, "every save is recorded")
        await self.until(lambda: not self.journal.unreported_saves(), "the controller heard of all")

    async def check_whole(self, uid: str) -> Image:
        """One manifest for each recorded save and none besides, and every blob of each is there."""
        saves = self.controller.recorded(uid)
        images = [self.controller.images[uid, save.seq] for save in saves]
        repository = f"projects/{uid}"
        async with Registry(self.registry.url) as registry:
            tags = set(await registry.tags(repository))
            wanted = {f"save-{save.seq}" for save in saves}
            assert tags == wanted, f"{sorted(tags)} are there, {sorted(wanted)} are recorded"
            for save, image in zip(saves, images, strict=True):
                tagged = await registry.manifest_digest(repository, f"save-{save.seq}")
                assert tagged == image.digest == save.digest
                _, document = await registry.image(repository, image.digest)
                for layer in document.manifest.layers:
                    assert await registry.blob_size(repository, layer.digest) == layer.size
        assert self._manifests(repository) == {image.digest for image in images}
        return images[-1]

    def _manifests(self, repository: str) -> set[str]:
        root = self.registry.root / "docker/registry/v2/repositories" / repository
        links = root.glob("_manifests/revisions/sha256/*/link")
        return {f"sha256:{link.parent.name}" for link in links}

    async def check_files(self, image: Image, upper: Path, directory: Path) -> None:
        """An image, unpacked by umoci, shows what the upper holds; the base's own aside."""
        async with Registry(self.registry.url) as registry:
            root = await unpack_with_umoci(registry, image, directory)
        ours, theirs = facts(upper), facts(root)
        whiteouts = {path for path, fact in ours.items() if fact.kind == "c" and not fact.device}
        assert not whiteouts & theirs.keys()
        ours = {path: fact for path, fact in ours.items() if path not in whiteouts | _STUBS}
        shown = {path: theirs[path] for path in ours.keys() & theirs.keys()}
        found = differences(ours, shown)
        assert found == [], "\n".join(found)

    def check_registry_clean(self) -> None:
        """Once swept, the registry has no blob that nothing refers to, and no upload."""
        storage = Storage(self.registry.root, Ages(young_s=0, grace_s=0, leftover_s=0))
        for repository in storage.repositories():
            storage.trim(repository)
        for _ in range(2):
            storage.sweep()
        root = self.registry.root / "docker/registry/v2/repositories"
        kinds = ("_layers/sha256/*/link", "_manifests/revisions/sha256/*/link")
        linked = {f"sha256:{p.parent.name}" for kind in kinds for p in root.glob(f"**/{kind}")}
        assert self.registry.blobs() == linked
        assert list(root.glob("**/_uploads/*")) == []

    def check_uppers_clean(self, uids: set[str]) -> None:
        """No other upper, and nothing half-made or half-removed."""
        found = {path.name for path in self.layout.uppers.iterdir()} - {".locks"}
        assert found == uids
        left = [path.name for path in self.layout.indexes.iterdir() if "new" in path.name]
        assert left == []


@contextlib.asynccontextmanager
async def node_parts(layout: Layout, work: Path) -> AsyncIterator[NodeParts]:
    """Registry and controller run; the caller starts the node agent."""
    for path in (layout.data, layout.run, layout.uppers, layout.indexes):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    registry = RegistryServer(work, layout.registry)
    layout.settings.write_text(f"registry_port = {registry.port}\n")
    registry.start()
    controller = Hearing()
    runner = await rpc.serve(layout.node_socket, protocol=NodeOrders, implementation=controller)
    parts = NodeParts(layout, registry, controller)
    try:
        yield parts
    finally:
        parts.kill_agent()
        parts.journal.close()
        await runner.cleanup()
        registry.kill()
