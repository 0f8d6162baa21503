"""Keeps the image's libraries out of the agent, whose libc is the bundle's and may be another."""

import ctypes
import ctypes.util
import tempfile

_LOOKUPS = {b"passwd": b"files", b"group": b"files", b"hosts": b"files dns"}
"""What the bundle's own libc can do (nsswitch.conf(5)); everything else is a library."""


def isolate(writable: str) -> None:
    """Look for no library in the image, neither by name nor through nsswitch.conf.

    `writable` is a directory for temporary files, for images that have none.
    """
    ctypes.util.find_library = _nowhere
    libc = ctypes.CDLL(None)
    for database, sources in _LOOKUPS.items():
        libc["__nss_configure_lookup"](database, sources)
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = writable


def _nowhere(name: str) -> None:
    """Libraries that a package would like to have are not there."""
    del name
