"""The pod driver: the calls that a kubelet makes, in a kubelet's order, for boxes.

Owns one task per pod. Knows the store's rows it is given, not the store; what it sees it tells as
events. A call that is on its way is never cut off, because the runtime may finish it all the same:
a stop waits for it. Only fetching an image is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import TypeVar

import structlog

from controller.core import events as e
from controller.core.state import Box, pod_uid
from controller.embedded import endings, health, logs, pods, processes
from controller.embedded.network import Network
from controller.embedded.rules import Neighbour
from controller.store.projects import ProjectRow
from devbox.edge.cri.client import Cri
from devbox.edge.cri.proto import runtime_pb2 as cri
from devbox.edge.tasks import Tasks
from devbox.model.errors import DevboxError, Unavailable

T = TypeVar("T")
U = TypeVar("U")
_log = structlog.get_logger()

GRACE_S = 10
_STARTING_S = 0.01
_PAUSES_S: dict[type, float] = {e.BoxServing: 5.0, e.BoxRefusing: 1.0, e.BoxSilent: 0.2}
"""Between questions to an agent, by what it said last."""
_LOOK_S = 0.5
"""Between looks at all containers."""
_LOOKS_PER_TURN = 20
"""Looks between two measurements of the logs."""
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_KEPT_LOGS = 2
_FORGOTTEN_LOGS = 10


@dataclass
class _Pod:
    """A box in our hands."""

    project: ProjectRow
    box: Box
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    fetching: bool = False
    container: str = ""
    """Its id, while it runs."""
    sandbox: str = ""

    @property
    def neighbour(self) -> Neighbour:
        return Neighbour(self.project.namespace, self.project.name)


class PodDriver:
    """Carries boxes out over CRI."""

    def __init__(
        self,
        runtime: Cri,
        network: Network,
        tasks: Tasks,
        *,
        see: Callable[[str, e.Event], Awaitable[None]],
        registry_host: str,
        log_root: Path,
        most_processes: int = 0,
    ) -> None:
        self._cri = runtime
        self._network = network
        self._tasks = tasks
        self._see = see
        self._registry = registry_host
        self._logs = log_root
        self._most_processes = most_processes
        self._pods: dict[str, _Pod] = {}
        self._ipv6 = Path("/proc/sys/net/ipv6").exists()

    # What the core orders

    def start(self, project: ProjectRow, box: Box) -> None:
        """Make the box."""
        if box.pod_uid not in self._pods:
            self._take(_Pod(project, box), self._start, "start")

    def adopt(self, project: ProjectRow, box: Box) -> None:
        """Find it again after a restart of the controller."""
        if box.pod_uid not in self._pods:
            self._take(_Pod(project, box), self._adopt, "adopt")

    def stop(self, project: ProjectRow, box: Box) -> None:
        """Stop it and remove all that is there of it."""
        before = self._pods.get(box.pod_uid)
        if before and before.stopping.is_set():
            return
        pod = _Pod(project, box)
        pod.stopping.set()
        self._pods[box.pod_uid] = pod
        self._tasks.start(self._stop(pod, before), f"stop/{project.name}")

    def forget(self, project: ProjectRow) -> None:
        """Remove the logs of its boxes."""
        for generation in _before(project.state.generation + 1, _FORGOTTEN_LOGS):
            logs.remove(self._logs, pod_uid(project.uid, generation))

    def _take(self, pod: _Pod, work: Callable[[_Pod], Awaitable[None]], name: str) -> None:
        self._pods[pod.box.pod_uid] = pod

        async def run() -> None:
            try:
                await work(pod)
            except DevboxError as error:
                if not pod.stopping.is_set():
                    await self._ended(pod, endings.could_not_start(error.message))

        pod.task = self._tasks.start(run(), f"{name}/{pod.project.name}")

    async def _ended(self, pod: _Pod, sentence: str) -> None:
        pod.container = ""
        _log.info("box_ended", project=pod.project.name, sentence=sentence)
        await self._tell(pod, e.BoxEnded(pod.box.generation, sentence))

    # Start

    async def _start(self, pod: _Pod) -> None:
        image = pods.reference(self._registry, pod.box.image)
        await self._fetch(pod, image)
        made = await self._made(pod, image)
        if made is not None:
            container, address = made
            processes.bound(container, self._most_processes)
            self._remove_old_logs(pod)
            await self._attend(pod, container, address)

    async def _made(self, pod: _Pod, image: str) -> tuple[str, str] | None:
        """Its container, started, and its address; None when a stop took over.

        A call that is lost because the runtime or the commit-shim is being restarted is no failure
        of the box: it is made again. For a while after it, names that it took may still be taken.
        """
        lost = False
        for wait in _RETRY_S:
            try:
                return await self._make(pod, image)
            except DevboxError as error:
                lost = lost or isinstance(error, Unavailable)
                if not lost:
                    raise
                _log.warning("start_lost", project=pod.project.name, error=error.message)
            await asyncio.sleep(wait)
            if found := await self._patiently(lambda: self._what_is_left(pod), pod):
                return found
        return await self._make(pod, image)

    async def _make(self, pod: _Pod, image: str) -> tuple[str, str] | None:
        config = self._sandbox_config(pod)
        # Between two calls a stop may take over; it clears away what was made so far.
        if not pod.stopping.is_set():
            pod.sandbox = await self._cri.run_sandbox(config)
        if not pod.stopping.is_set():
            container = pods.container(pod.project, pod.box, image)
            # Nothing of the box runs before both are done.
            address, created = await _both(
                self._join(pod), self._cri.create_container(pod.sandbox, container, config)
            )
            if not pod.stopping.is_set():
                await self._cri.start_container(created)
                return created, address
        return None

    async def _what_is_left(self, pod: _Pod) -> tuple[str, str] | None:
        """Of a start that was lost: a box that runs all the same; all else is cleared away."""
        pod.sandbox, container = await self._running(pod.box.pod_uid)
        if container:
            return container, await self._join(pod)
        await self._clear(pod.box.pod_uid)
        return None

    def _sandbox_config(self, pod: _Pod) -> cri.PodSandboxConfig:
        folder = logs.directory(self._logs, pod.box.pod_uid)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return pods.sandbox(
            pod.project,
            pod.box,
            logs=folder,
            name_server=self._network.net.gateway,
            ipv6=self._ipv6,
        )

    async def _join(self, pod: _Pod) -> str:
        address = (await self._cri.sandbox_status(pod.sandbox)).status.network.ip
        await self._network.join(address, pod.neighbour)
        return address

    def _remove_old_logs(self, pod: _Pod) -> None:
        for generation in _before(pod.box.generation - _KEPT_LOGS + 1, _KEPT_LOGS):
            logs.remove(self._logs, pod_uid(pod.project.uid, generation))

    async def _fetch(self, pod: _Pod, image: str) -> None:
        pod.fetching = True
        if not await self._is_here(image):
            await self._pull(image)
        pod.fetching = False

    async def _pull(self, image: str) -> None:
        for wait in _RETRY_S:
            with suppress(Unavailable):
                await self._cri.pull_image(image)
                return
            await asyncio.sleep(wait)
        await self._cri.pull_image(image)

    async def _is_here(self, image: str) -> bool:
        """The first question of a start: a runtime that is just being restarted gets a while."""
        for wait in _RETRY_S[:-1]:
            # One that has just begun answers "not initialized yet", as an unknown error.
            with suppress(DevboxError):
                return await self._cri.image_status(image) is not None
            await asyncio.sleep(wait)
        try:
            return await self._cri.image_status(image) is not None
        except Unavailable as error:
            raise Unavailable("the container runtime does not answer") from error

    # Adopt

    async def _adopt(self, pod: _Pod) -> None:
        sandbox, container = await self._patiently(lambda: self._running(pod.box.pod_uid), pod)
        if pod.stopping.is_set():
            return
        if not container:
            await self._patiently(lambda: self._clear(pod.box.pod_uid), pod)
            await self._gone(pod)
            return
        pod.sandbox = sandbox
        await self._attend(pod, container, await self._join(pod))

    async def _running(self, uid: str) -> tuple[str, str]:
        for sandbox in await self._cri.sandboxes({pods.POD_LABEL: uid}):
            if sandbox.state != cri.SANDBOX_READY:
                continue
            for container in await self._cri.containers(sandbox_id=sandbox.id):
                if container.state == cri.CONTAINER_RUNNING:
                    return sandbox.id, container.id
        return "", ""

    # Attend

    async def _attend(self, pod: _Pod, container: str, address: str) -> None:
        """Tell how the agent is, until the box is stopped or ends."""
        pod.container = container
        generation = pod.box.generation
        await self._tell(pod, e.BoxUp(generation, address))
        told: e.Event | None = None
        while pod.container and not pod.stopping.is_set():
            news = _news(await health.ask(address), generation, told)
            if news != told and news is not None and pod.container:
                told = news
                await self._tell(pod, news)
            pause = _PAUSES_S.get(type(told), _STARTING_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await pod.stopping.wait()

    # Stop

    async def _stop(self, pod: _Pod, before: _Pod | None) -> None:
        if before and before.task:
            before.stopping.set()
            if before.fetching:
                before.task.cancel()
            await asyncio.wait({before.task})
        await _both(
            self._patiently(lambda: self._clear(pod.box.pod_uid), pod),
            self._patiently(lambda: self._network.leave(pod.neighbour), pod),
        )
        await self._gone(pod)

    async def _gone(self, pod: _Pod) -> None:
        self._pods.pop(pod.box.pod_uid, None)
        await self._tell(pod, e.BoxGone(pod.box.generation))

    async def _tell(self, pod: _Pod, event: e.Event) -> None:
        await self._patiently(lambda: self._see(pod.project.uid, event), pod)

    async def _clear(self, uid: str) -> bool:
        """Everything of a pod, in a kubelet's order. May be done again at any point."""
        for sandbox in await self._cri.sandboxes({pods.POD_LABEL: uid}):
            containers = await self._cri.containers(sandbox_id=sandbox.id)
            for container in containers:
                if container.state == cri.CONTAINER_RUNNING:
                    await self._cri.stop_container(container.id, GRACE_S)
            await self._cri.stop_sandbox(sandbox.id)
            for container in containers:
                await self._cri.remove_container(container.id)
            await self._cri.remove_sandbox(sandbox.id)
        return True

    async def _patiently(self, work: Callable[[], Awaitable[T]], pod: _Pod) -> T:
        """Until it works: the runtime may be away for a while."""
        for wait in chain(_RETRY_S, repeat(_RETRY_S[-1])):
            try:
                return await work()
            except DevboxError as error:
                _log.warning("tried_again", project=pod.project.name, error=error.message)
                await asyncio.sleep(wait)
        raise AssertionError

    # All boxes

    async def look(self) -> None:
        """Notice boxes that end by themselves. Runs until it is cancelled."""
        while True:
            for _ in range(_LOOKS_PER_TURN):
                await asyncio.sleep(_LOOK_S)
                if any(pod.container for pod in self._pods.values()):
                    with suppress(DevboxError):
                        await self._look_once()
            with suppress(DevboxError):
                await self.turn_logs_over()

    async def turn_logs_over(self) -> None:
        """Begin a new file for boxes that wrote much."""
        for pod in list(self._pods.values()):
            if pod.container and logs.turn_over(self._logs, pod.box.pod_uid):
                await self._cri.reopen_log(pod.container)

    async def _look_once(self) -> None:
        watched = [pod for pod in self._pods.values() if pod.container]
        containers = {item.id: item for item in await self._cri.containers()}
        ready = {item.id for item in await self._cri.sandboxes() if item.state == cri.SANDBOX_READY}
        for pod in watched:
            item = containers.get(pod.container)
            runs = item is not None and item.state == cri.CONTAINER_RUNNING
            if not pod.stopping.is_set() and not (runs and pod.sandbox in ready):
                await self._ended(pod, await self._why(pod, item))

    async def _why(self, pod: _Pod, item: cri.Container | None) -> str:
        if item is None:
            return "The box's container was removed by somebody else."
        if item.state == cri.CONTAINER_RUNNING:
            return "The box's sandbox ended."
        with suppress(DevboxError):
            status = (await self._cri.container_status(pod.container)).status
            last = logs.last_lines(self._logs, pod.box.pod_uid, 1)
            return endings.sentence(status.exit_code, status.reason, last[0] if last else "")
        return "The box ended."

    async def tidy(self, is_box: Callable[[str], bool]) -> None:
        """Remove sandboxes of ours that no project knows."""
        for sandbox in await self._ours():
            if not is_box(sandbox.metadata.uid):
                _log.info("stray_sandbox", pod_uid=sandbox.metadata.uid)
                await self._clear(sandbox.metadata.uid)

    async def _ours(self) -> Sequence[cri.PodSandbox]:
        return [item for item in await self._cri.sandboxes() if pods.PROJECT_LABEL in item.labels]


async def _both(one: Awaitable[T], other: Awaitable[U]) -> tuple[T, U]:
    """Side by side, and both to their ends. Raises the first one's error, or the other's."""
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    for result in (first, second):
        if isinstance(result, BaseException):
            raise result
    return first, second  # type: ignore[return-value]


def _news(seen: health.Health, generation: int, told: e.Event | None) -> e.Event | None:
    if seen.serves:
        return e.BoxServing(generation)
    if seen.refusal:
        return e.BoxRefusing(generation, seen.refusal)
    return e.BoxSilent(generation) if told is not None else None


def _before(generation: int, count: int) -> range:
    return range(max(1, generation - count), max(1, generation))
