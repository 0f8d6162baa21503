"""URLs that people type. Imports nothing heavy: every command of the command line reads one."""

from urllib.parse import SplitResult, urlsplit

from devbox.model.errors import BadInput


def split_url(text: str) -> SplitResult:
    """A URL in its parts. Raises BadInput for a malformed host or port."""
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - looked at only here
    except ValueError as error:
        raise BadInput(
            "the host or the port in the URL is malformed",
            "An IPv6 address stands in brackets; a port is a number up to 65535.",
        ) from error
    return url
