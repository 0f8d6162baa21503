"""Where a new project comes from: a runtime, a release, a save, or any image.

Works inside a transaction; asks for what must be built or pulled first.
"""

import hashlib
import re
import sqlite3
from dataclasses import dataclass

from msgspec.structs import replace

from controller.store import projects, runtimes, saves
from controller.store.projects import ProjectRow
from controller.store.runtimes import RuntimeRow
from devbox.edge.registry.references import Reference
from devbox.model.errors import Unavailable
from devbox.model.projects import Image, Port
from devbox.model.runtimes import (
    IMAGE_PREFIX,
    ReleaseName,
    Runtime,
    RuntimeState,
    SaveName,
    no_release,
    no_save,
    release_named,
    save_named,
)
from devbox.model.saves import SaveStep


@dataclass(frozen=True)
class Origin:
    """What a project's runtime stands for."""

    runtime: str
    """The runtime's name; empty for a release and a save."""
    image: Image | None
    """None: it is being built or pulled."""
    waiting: str = ""
    run_image_command: bool = False
    ports: tuple[Port, ...] = ()


def find_origin(db: sqlite3.Connection, namespace: str, runtime: str) -> Origin:
    """Resolve `python`, `hello:v1`, `hello@save-12` or `image:REFERENCE`. Raises NotFound.

    A release and a save may be of another namespace: `namespace/hello:v1`.
    """
    if runtime.startswith(IMAGE_PREFIX):
        return _of_runtime(db, _image_runtime(db, runtime.removeprefix(IMAGE_PREFIX)))
    if release := release_named(runtime, namespace):
        return _of_release(db, runtime, release)
    if save := save_named(runtime, namespace):
        return _of_save(db, runtime, save)
    if runtimes.find(db, runtime) is None and not runtimes.any_node(db):
        raise Unavailable(
            "the node has not said yet which runtimes it has", "Try again in a few seconds."
        )
    return _of_runtime(db, runtimes.named(db, runtime))


def want(db: sqlite3.Connection, row: RuntimeRow, *, again: bool = False) -> RuntimeRow:
    """Have a runtime built or pulled; `again` also when it is there or is being made."""
    state = row.runtime.state
    if not again and (state is RuntimeState.READY or row.wanted):
        return row
    fresh = replace(
        row.runtime,
        state=RuntimeState.BUILDING,
        progress=0.0,
        message="Waiting for the node.",
        code="",
    )
    tried = again or state is RuntimeState.FAILED
    wanted = RuntimeRow(runtime=fresh, attempt=row.attempt + int(tried), wanted=True)
    runtimes.put(db, wanted)
    return wanted


def check_architecture(image: Image, machine: str, what: str) -> str:
    """A sentence when the image is for another machine, else nothing."""
    if not image.architecture or image.architecture == machine:
        return ""
    return (
        f"{what} is for {image.architecture}, and this machine is {machine}: it cannot run here. "
        f"Use an image for {machine}."
    )


def _of_runtime(db: sqlite3.Connection, row: RuntimeRow) -> Origin:
    row = want(db, row)
    runtime = row.runtime
    ready = runtime.state is RuntimeState.READY
    return Origin(
        runtime=runtime.name,
        image=runtime.image if ready else None,
        waiting="" if ready else waiting_for(runtime),
        run_image_command=runtime.run_image_command,
        ports=tuple(Port(port=port) for port in runtime.ports),
    )


def waiting_for(runtime: Runtime) -> str:
    """How far a runtime is, for the people who wait for it."""
    built = "built" if runtime.source == "built-in" else "pulled"
    said = f" ({runtime.message.rstrip('.')})" if runtime.message else ""
    return f"Runtime {runtime.name} is being {built}: {runtime.progress:.0%}{said}."


def _of_release(db: sqlite3.Connection, runtime: str, release: ReleaseName) -> Origin:
    source = projects.find(db, release.namespace, release.project)
    image = saves.release_image(db, source.uid, release.version) if source else None
    if source is None or image is None:
        raise no_release(runtime)
    return _of_project(source, image)


def _of_save(db: sqlite3.Connection, runtime: str, name: SaveName) -> Origin:
    source = projects.find(db, name.namespace, name.project)
    image = recorded_image(db, source.uid, name.seq) if source else None
    if source is None or image is None:
        raise no_save(runtime)
    return _of_project(source, image)


def recorded_image(db: sqlite3.Connection, project_uid: str, seq: int) -> Image | None:
    """The image of a save that is recorded."""
    save = saves.find(db, project_uid, seq)
    recorded = save is not None and save.step is SaveStep.RECORDED
    return saves.image(db, project_uid, seq) if recorded else None


def _of_project(source: ProjectRow, image: Image) -> Origin:
    return Origin(
        runtime="",
        image=image,
        run_image_command=source.spec.run_image_command,
        ports=source.spec.ports,
    )


def _image_runtime(db: sqlite3.Connection, reference: str) -> RuntimeRow:
    Reference.parse(reference)
    for row in runtimes.everything(db):
        if row.runtime.source == reference:
            return row
    slug = re.sub(r"[^a-z0-9]+", "-", reference.lower().rpartition("/")[2]).strip("-")[:40]
    mark = hashlib.sha256(reference.encode()).hexdigest()[:8]
    row = RuntimeRow(runtime=Runtime(name=f"{slug or 'image'}-{mark}", source=reference))
    runtimes.put(db, row)
    return row
