"""What the server proposes (RFC 4253 section 7.1): nothing old."""

import re
import subprocess

import pytest

from tests.support.ssh import Door

pytestmark = pytest.mark.root
WEAK = re.compile(rb"sha1|md5|cbc|arcfour|3des|nistp|ssh-rsa|ssh-dss|group1-|group14|exchange|zlib")


def proposal(box: Door, banner: bytes) -> list[bytes]:
    """The ten lists of the server's KEXINIT, for a client that calls itself so."""
    with subprocess.Popen(box.join("ssh"), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(banner + b"\r\n")
        client.stdin.flush()
        assert client.stdout.readline().startswith(b"SSH-2.0-Devbox")
        length = int.from_bytes(client.stdout.read(4), "big")
        packet = client.stdout.read(length)
        client.kill()
    rest = packet[1 + 1 + 16 :]
    lists = []
    for _ in range(10):
        size = int.from_bytes(rest[:4], "big")
        lists.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return lists


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.9", b"SSH-2.0-PuTTY"])
def test_nothing_weak(box: Door, banner: bytes) -> None:
    lists = proposal(box, banner)
    assert not [found for found in lists if WEAK.search(found)]
    assert lists[1] == b"ssh-ed25519"
    assert b"kex-strict-s-v00@openssh.com" in lists[0], "no prefix truncation"


def test_openssh_gets_the_fast_ciphers_and_others_a_choice(box: Door) -> None:
    assert proposal(box, b"SSH-2.0-OpenSSH_9.9")[3].startswith(b"aes128-gcm@openssh.com,")
    assert b"ctr" not in proposal(box, b"SSH-2.0-OpenSSH_9.9")[3]
    assert b"aes256-ctr" in proposal(box, b"SSH-2.0-dropbear_2022.83")[3]
