"""What of an upper stays out of a save: mount stubs, and what the project's file lists."""

import fnmatch
import os
import re
import stat
from collections.abc import Sequence

_TREES = frozenset({b"dev", b"proc", b"sys", b".devbox"})
_STUBS = frozenset({b"etc/resolv.conf", b"etc/hosts", b"etc/hostname"})
RESERVED = ".wh."
"""Names that begin so are whiteouts in an image (OCI image spec, layer)."""


class Rules:
    """Decides by path, and for stubs by what lies there."""

    def __init__(self, exclude: Sequence[str]) -> None:
        patterns = [fnmatch.translate(pattern) for pattern in exclude]
        self._exclude = re.compile("|".join(patterns)) if patterns else None

    def skips(self, path: bytes, facts: os.stat_result) -> bool:
        """Whether this stays out, with all below it."""
        if path in _TREES:
            return True
        if path in _STUBS and stat.S_ISREG(facts.st_mode) and not facts.st_size:
            return True
        return self.excludes(path)

    def excludes(self, path: bytes) -> bool:
        """Whether the project's file leaves this out, whatever lies there."""
        return self._exclude is not None and bool(self._exclude.match("/" + os.fsdecode(path)))
