"""Whether this box stands on the kept upper: only the node agent can have put the nonce there.

A box that was started behind the commit-shim's back has a throw-away upper. Its agent refuses to
serve, so that nobody works on files that would be lost.
"""

import hmac
import os

from devbox.model.nodes import UPPER_NONCE_XATTR

NOT_KEPT = (
    "this box does not stand on the project's kept files, so it refuses to serve",
    "Nothing is lost; stop the project and start it again.",
)
"""Message and hint."""


def is_kept(nonce: str, root: str = "/") -> bool:
    """Whether the root of the file system carries the start record's nonce."""
    if not nonce:
        return False
    try:
        found = os.getxattr(root, UPPER_NONCE_XATTR)
    except OSError:
        return False
    return hmac.compare_digest(found, nonce.encode())
