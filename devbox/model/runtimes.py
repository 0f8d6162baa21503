"""Runtimes: the images that projects start from."""

import enum
import re

import msgspec

from devbox.model.errors import NotFound
from devbox.model.projects import Image

IMAGE_PREFIX = "image:"
"""Before an image's reference, where a project's spec names its runtime."""

_SAVE = re.compile(r"(?:([^/@:]+)/)?([^/@:]+)@save-([0-9]{1,9})")


class RuntimeState(enum.StrEnum):
    """Whether a runtime's image is in the registry."""

    KNOWN = "known"
    """It can be built or pulled; the first project that wants it does."""
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


class Runtime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A built-in runtime, or an image that was added."""

    name: str
    source: str
    """`built-in`, or the image reference it was pulled from."""
    title: str = ""
    ports: tuple[int, ...] = ()
    run_image_command: bool = False
    state: RuntimeState = RuntimeState.KNOWN
    progress: float = 0.0
    """0 to 1 while it is built."""
    message: str = ""
    code: str = ""
    """Of the error when it failed, as in `devbox.model.errors`."""
    image: Image | None = None


class ReleaseName(msgspec.Struct, frozen=True):
    """Names a release."""

    namespace: str
    project: str
    version: str


def release_named(runtime: str, namespace: str) -> ReleaseName | None:
    """The release that `hello:v1` or `namespace/hello:v1` names; None for other runtimes.

    `namespace` is meant where none is named.
    """
    if runtime.startswith(IMAGE_PREFIX) or ":" not in runtime:
        return None
    place, _, version = runtime.rpartition(":")
    owner, _, project = place.rpartition("/")
    return ReleaseName(owner or namespace, project, version)


def no_release(runtime: str) -> NotFound:
    """The one answer for releases that are missing or of somebody else's project."""
    return NotFound(
        f"there is no release {runtime}", "`devbox releases PROJECT` shows those there are."
    )


class SaveName(msgspec.Struct, frozen=True):
    """Names a save, for a project that begins with its files."""

    namespace: str
    project: str
    seq: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.project}@save-{self.seq}"


def save_named(runtime: str, namespace: str) -> SaveName | None:
    """The save that `hello@save-12` or `namespace/hello@save-12` names; None for other runtimes.

    `namespace` is meant where none is named.
    """
    found = _SAVE.fullmatch(runtime)
    return SaveName(found[1] or namespace, found[2], int(found[3])) if found else None


def no_save(runtime: str) -> NotFound:
    """The one answer for saves that are missing or of somebody else's project."""
    return NotFound(f"there is no save {runtime}", "`devbox saves PROJECT` shows those there are.")
