"""Wants a save when a box ended, however it ended, and wakes the node agent."""

import asyncio
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from devbox.edge.containerd.client import CRI_NAMESPACE, Containerd
from devbox.edge.containerd.proto import events_pb2
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.model.errors import DevboxError, NotFound
from devbox.model.saves import SaveReason
from node_agent.journal import Box, Journal

_log = structlog.get_logger()
_AGAIN_S = 0.5
_LOOK_S = 10.0


class Ending:
    """Turns ends of boxes into wanted saves. Never waits for one."""

    def __init__(
        self, journal: Journal, containerd: Containerd, runtime: Cri, kick_socket: Path
    ) -> None:
        self._journal = journal
        self._containerd = containerd
        self._cri = runtime
        self._kick_socket = kick_socket
        self._stopping: dict[str, int] = {}

    def stopping(self, boxes: Iterable[Box]) -> None:
        """Somebody is ending these on purpose: if they exit now, they did not crash."""
        for box in boxes:
            self._stopping[box.container_id] = self._stopping.get(box.container_id, 0) + 1

    def stopped(self, boxes: Iterable[Box]) -> None:
        """That call is over."""
        for box in boxes:
            left = self._stopping.pop(box.container_id, 1) - 1
            if left:
                self._stopping[box.container_id] = left

    async def ended(self, boxes: Iterable[Box], reason: SaveReason, *, gone: bool = False) -> None:
        """No process of these boxes runs any more; `gone`: containerd has forgotten them too."""
        await asyncio.to_thread(self._ended, list(boxes), reason, gone)

    def _ended(self, boxes: list[Box], reason: SaveReason, gone: bool) -> None:
        wanted = False
        for box in boxes:
            self._journal.box_ended(box.container_id)
            seq = self._journal.want_save(
                box.project_uid, generation=box.generation, reason=reason, now=time.time()
            )
            if gone:
                self._journal.forget_box(box.container_id)
            if seq is not None:
                wanted = True
                _log.info("save_wanted", project=box.project_uid, seq=seq, reason=reason)
        if wanted:
            self._kick()

    def _kick(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(b"save", str(self._kick_socket))
            except OSError as error:
                _log.info("nobody_to_kick", error=str(error))

    async def watch(self) -> None:
        """See boxes exit, until cancelled."""
        topic = f'namespace=={CRI_NAMESPACE},topic=="/tasks/exit"'
        while True:
            try:
                async for event in self._containerd.events(topic):
                    await self._exited(event)
            except DevboxError as error:
                _log.info("containerd_away", error=error.message)
            except Exception:  # one bad event must not end the watch
                _log.exception("watch_failed")
            await asyncio.sleep(_AGAIN_S)

    async def _exited(self, event: events_pb2.Envelope) -> None:
        known = events_pb2.TaskExit.FromString(event.event.value)
        if known.id != known.container_id:
            return
        box = await asyncio.to_thread(self._journal.box, known.container_id)
        if box is not None:
            await self.ended([box], self._reason(box))

    def _reason(self, box: Box) -> SaveReason:
        on_purpose = box.container_id in self._stopping
        return SaveReason.STOPPED if on_purpose else SaveReason.CRASHED

    async def look(self) -> None:
        """Find boxes that ended while nobody watched, now and again, until cancelled."""
        while True:
            try:
                await self._look()
            except DevboxError as error:
                _log.info("containerd_away", error=error.message)
            except Exception:  # one bad record must not end the looking
                _log.exception("look_failed")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        boxes = await asyncio.to_thread(self._journal.boxes)
        states = {found.id: found.state for found in await self._cri.containers()} if boxes else {}
        for box in boxes:
            state = states.get(box.container_id)
            if state is None and not await self._exists(box):
                await self.ended([box], SaveReason.REMOVED, gone=True)
            elif state == cri.CONTAINER_EXITED and box.may_write:
                await self.ended([box], self._reason(box))

    async def _exists(self, box: Box) -> bool:
        try:
            await self._containerd.container(box.container_id)
        except NotFound:
            return False
        return True
