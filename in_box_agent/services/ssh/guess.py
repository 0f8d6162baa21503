"""Whether a client that sends its key exchange early guessed right (RFC 4253 section 7.1). Pure."""

_LISTS_AT = 1 + 16
"""In a KEXINIT's payload, behind its number and cookie."""
_FOLLOWS_AT = -5
"""The flag, in front of a reserved uint32."""


def guessed_wrong(kexinit: bytes, exchange: bytes, host_key: bytes) -> bool:
    """Whether the packet behind a client's KEXINIT is to be left out.

    A guess is right only if what both sides like best is the same: `exchange` and `host_key` stand
    first in the server's lists. That the guessed one is chosen in the end is not enough, and a
    client that knows it sends another.
    """
    if not kexinit[_FOLLOWS_AT]:
        return False
    exchanges, behind = _list(kexinit, _LISTS_AT)
    host_keys, _ = _list(kexinit, behind)
    return exchanges[0] != exchange or host_keys[0] != host_key


def _list(payload: bytes, at: int) -> tuple[list[bytes], int]:
    """A name-list (RFC 4251 section 5), and where the next begins."""
    begin = at + 4
    end = begin + int.from_bytes(payload[at:begin], "big")
    return payload[begin:end].split(b","), end
