"""What of a request's target may stand in a log line. Pure."""

import re

_HEX = re.compile(r"[0-9A-Fa-f]{16,}")
_PLACE_PARTS = 4
_OURS = {"api", "healthz"}


def without_secret(target: str) -> str:
    """The path with every possible token replaced by `…`, and no query."""
    parts = target.partition("?")[0].partition("#")[0].split("/")[1:]
    if parts and parts[0] not in _OURS and len(parts) > _PLACE_PARTS:
        parts = [*parts[:_PLACE_PARTS], "…"]
    return "/" + "/".join(_HEX.sub("…", part)[:80] for part in parts[:12])
