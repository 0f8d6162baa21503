"""Guessed key exchanges, as RFC 4253 section 7.1 judges them."""

import pytest

from in_box_agent.services.ssh.guess import guessed_wrong

OURS = (b"mlkem768x25519-sha256", b"ssh-ed25519")


def kexinit(exchanges: bytes, host_keys: bytes, *, follows: bool) -> bytes:
    lists = [exchanges, host_keys, *[b"any"] * 6, b"", b""]
    packed = b"".join(len(one).to_bytes(4, "big") + one for one in lists)
    return b"\x14" + bytes(range(16)) + packed + bytes([follows]) + bytes(4)


@pytest.mark.parametrize(
    ("exchanges", "host_keys", "wrong"),
    [
        (b"mlkem768x25519-sha256,curve25519-sha256", b"ssh-ed25519,ssh-rsa", False),
        (b"curve25519-sha256,mlkem768x25519-sha256", b"ssh-ed25519", True),
        (b"mlkem768x25519-sha256", b"ssh-rsa,ssh-ed25519", True),
        (b"", b"", True),
    ],
)
def test_only_equal_first_choices_are_right(
    exchanges: bytes, host_keys: bytes, wrong: bool
) -> None:
    assert guessed_wrong(kexinit(exchanges, host_keys, follows=True), *OURS) is wrong
    assert guessed_wrong(kexinit(exchanges, host_keys, follows=False), *OURS) is False
