"""Names people choose: RFC 1123 labels, release versions, digests."""

import re

from devbox.model.errors import BadInput

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_label(text: str, what: str) -> str:
    """Return `text` if it is an RFC 1123 label. Raises BadInput that names `what`."""
    if not _LABEL.fullmatch(text):
        raise BadInput(
            f"{what} {text!r} is not a valid name",
            "Use 1 to 63 lower-case letters, digits and hyphens; begin and end with no hyphen.",
        )
    return text


def check_version(text: str) -> str:
    """Return `text` if a release may carry it: an OCI tag of at most 64 characters."""
    if not _VERSION.fullmatch(text):
        raise BadInput(
            f"version {text!r} is not a valid version",
            "Use 1 to 64 letters, digits, '.', '_' and '-'; begin with a letter, digit or '_'.",
        )
    return text


def check_digest(text: str) -> str:
    """Return `text` if it is a sha256 digest (OCI image spec, descriptor, digests)."""
    if not _DIGEST.fullmatch(text):
        raise BadInput(
            f"{text!r} is not a sha256 digest", "It looks like sha256: and 64 hex digits."
        )
    return text
