"""Keeps image collectors away from images that uppers stand on."""

import structlog

from devbox.edge.containerd.client import PINNED_LABEL, Containerd
from devbox.model.errors import DevboxError

_log = structlog.get_logger()
_PINNED = "pinned"
OURS_LABEL = "devbox.dev/pinned-for"
"""Marks pins that we set: others, such as the sandbox image's, are left alone."""


async def keep_pinned(containerd: Containerd, digests: frozenset[str]) -> None:
    """Pin the images with these manifest digests and unpin those that we pinned and need no more.

    A pull takes the label off again, so this is repeated. Never raises for one bad image.
    """
    for image in await containerd.images():
        wanted = image.target.digest in digests
        if wanted == (image.labels.get(PINNED_LABEL) == _PINNED):
            continue
        if not wanted and OURS_LABEL not in image.labels:
            continue
        try:
            await containerd.label_image(image.name, PINNED_LABEL, _PINNED if wanted else "")
            await containerd.label_image(image.name, OURS_LABEL, "upper" if wanted else "")
        except DevboxError as error:
            _log.warning("image_not_pinned", image=image.name, error=error.message)
