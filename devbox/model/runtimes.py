"""Runtimes: the images that projects start from."""

import enum

import msgspec

from devbox.model.projects import Image


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
    image: Image | None = None
