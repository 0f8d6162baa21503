"""Links a new container's snapshot to its project's upper.

Every step that touches disk is here, in the order that keeps a killed shim harmless: until the
last step the container has no link, and a box without its link has either no start record or one
whose nonce its root does not carry. Runs in a thread; knows no gRPC.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from devbox.edge.layout import Layout
from devbox.model.errors import Conflict, Unavailable
from devbox.model.nodes import UPPER_NONCE_XATTR, BoxRecord, StartRecord
from node_agent.faults import Fault
from node_agent.journal import Box, Journal
from node_agent.shim.memory import mount_memory, unmount
from node_agent.upper import Overlay, Uppers, overlay

_NONCE_BYTES = 16
_BOX_MODE = 0o777
START_RECORD = "start.json"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is to have an upper."""

    container_id: str
    sandbox_id: str
    overlay: Overlay
    chain_id: str


class Linking:
    """Prepares box directories and makes links."""

    def __init__(self, layout: Layout, journal: Journal, uppers: Uppers, fault: Fault) -> None:
        self._layout = layout
        self._journal = journal
        self._uppers = uppers
        self._fault = fault
        self._making: set[str] = set()

    def bundle(self) -> Path:
        """The agent bundle that new boxes get. Raises Unavailable when there is none."""
        bundle = Path(os.path.realpath(self._layout.bundle / "current"))
        if not (bundle / "bin" / "devbox-init").exists():
            raise Unavailable(
                f"there is no agent bundle in {self._layout.bundle / 'current'}",
                "Nothing is lost. Build it and start again.",
            )
        with contextlib.suppress(OSError):
            (bundle / "box").mkdir(exist_ok=True)
        return bundle

    def box_directory(self, pod_uid: str) -> Path:
        """The pod's own directory in memory.

        A record of an earlier container stays until the next one is linked: if that comes to
        nothing, as a call made twice does, the earlier one is to start all the same.
        """
        path = self._layout.boxes / pod_uid
        path.mkdir(exist_ok=True)
        mount_memory(path)
        path.chmod(_BOX_MODE)
        return path

    @contextlib.contextmanager
    def making(self, pod_uid: str) -> Iterator[None]:
        """Keep the pod's directory although the journal has no box of it yet."""
        self._making.add(pod_uid)
        try:
            yield
        finally:
            self._making.discard(pod_uid)

    def check_free(self, record: BoxRecord) -> None:
        """Raises Unavailable while a container runs on the upper, Conflict for an old box."""
        row = self._journal.upper(record.project_uid)
        if row is not None and row.generation > record.generation:
            raise Conflict(
                f"a newer box of the project was started (generation {row.generation})",
                "Nothing is lost; this one is not needed.",
            )
        overlay.check_free(self._uppers.path(record.project_uid))

    def link(self, record: BoxRecord, target: Target, others: Sequence[Path]) -> None:
        """Give the container the project's upper. `others` are upperdirs of earlier containers."""
        uid = record.project_uid
        with self._uppers.hold(uid):
            self.check_free(record)
            lower = target.overlay.lowers[0]
            if record.needs_upper and self._journal.upper(uid) is None:
                raise Conflict(
                    "the project's files were given back to the registry while it was started",
                    "Nothing is lost: the next try starts from its newest save.",
                )
            self._uppers.open(uid, record.image, target.chain_id, lower)
            try:
                self._hand_over(record, target, others)
            except BaseException:
                self._record_path(record.pod_uid).unlink(missing_ok=True)
                raise

    def _hand_over(self, record: BoxRecord, target: Target, others: Sequence[Path]) -> None:
        uid = record.project_uid
        upper = self._uppers.path(uid)
        for other in others:
            overlay.retire(other, upper)
        nonce = secrets.token_hex(_NONCE_BYTES)
        self._fault("opened")
        self._write_record(record.pod_uid, record.start, nonce)
        self._fault("recorded")
        os.setxattr(upper, UPPER_NONCE_XATTR, nonce.encode())
        self._journal.link_box(
            Box(target.container_id, target.sandbox_id, record.pod_uid, uid, record.generation)
        )
        self._fault("journalled")
        overlay.link(target.overlay.upperdir, upper)
        self._fault("linked")

    def _record_path(self, pod_uid: str) -> Path:
        return self._layout.boxes / pod_uid / START_RECORD

    def _write_record(self, pod_uid: str, start: StartRecord, nonce: str) -> None:
        path = self._record_path(pod_uid)
        aside = path.with_suffix(".new")
        aside.write_bytes(msgspec.json.encode(msgspec.structs.replace(start, upper_nonce=nonce)))
        aside.chmod(0o444)
        aside.rename(path)

    def check_start(self, box: Box, upperdir: Path) -> None:
        """May this container start? Raises Conflict without its link, Unavailable while another
        container runs on the upper.
        """
        upper = self._uppers.path(box.project_uid)
        if not overlay.leads_to(upperdir, upper):
            raise Conflict(
                "the container has no link to the project's files",
                "Nothing is lost. Make a new container.",
            )
        overlay.check_free(upper)
        self._journal.link_box(msgspec.structs.replace(box, may_write=True))

    def undo(self, record: BoxRecord, container_id: str, upperdir: Path | None) -> None:
        """The container is not wanted after all."""
        if upperdir is not None:
            overlay.retire(upperdir, self._uppers.path(record.project_uid))
        self._journal.forget_box(container_id)

    def forget_pods(self) -> None:
        """Remove the directories of pods that have no box any more and are not being made."""
        kept = {box.pod_uid for box in self._journal.boxes()} | self._making
        for path in self._layout.boxes.iterdir():
            if path.name not in kept:
                unmount(path)
                shutil.rmtree(path, ignore_errors=True)
