"""SSH's binary packets (RFC 4253 section 6) with AES-GCM (RFC 5647), and little copying.

asyncssh copies each packet some eight times on its way in or out, and sends an empty message
before each of its own, which only CBC ciphers need. Here channel data go the short way; everything
else goes asyncssh's.
"""

import os
import time
from typing import Any

import asyncssh
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_IGNORE
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LENGTH = 4
_TAG = 16
_DATA_AT = 10
"""Of a decrypted packet: padding's length, type, channel, length of the data; then the data."""
_DATA = bytes([MSG_CHANNEL_DATA])


class _Opened(GCMEncryption):
    """Gives a packet that was decrypted already to asyncssh."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes:
        """The packet."""
        del seq, first, rest, header_len, mac
        return self._plain


class PacketConnection(asyncssh.SSHServerConnection):
    """A connection whose channel data take the short way."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sealers: tuple[Any, AESGCM] | None = None
        self._openers: tuple[Any, AESGCM] | None = None

    # -- out

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Encrypt and write one packet."""
        encryption = self._send_encryption
        if type(encryption) is not GCMEncryption:
            super().send_packet(pkttype, *args, handler=handler)
        elif pkttype == MSG_CHANNEL_DATA and self._may_send():
            self._send_data(encryption, args)
        elif pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def _may_send(self) -> bool:
        """Whether no key exchange is under way or due."""
        return bool(
            self._auth_complete
            and self._kex_complete
            and not self._compressor
            and self._rekey_bytes_sent < self._rekey_bytes
            and not (self._rekey_seconds and time.monotonic() >= self._rekey_time)
        )

    def _send_data(self, encryption: GCMEncryption, pieces: tuple[bytes, ...]) -> None:
        size = 1 + sum(map(len, pieces))
        padding = -(self._send_enchdrlen + size) % self._send_blocksize
        if padding < _LENGTH:
            padding += self._send_blocksize
        packet = b"".join((bytes((padding,)), _DATA, *pieces, os.urandom(padding)))
        header = len(packet).to_bytes(_LENGTH, "big")
        cipher = encryption._cipher
        if self._sealers is None or self._sealers[0] is not cipher:
            self._sealers = cipher, AESGCM(cipher._key)
        sealed = self._sealers[1].encrypt(cipher._iv, packet, header)
        cipher._update_iv()
        self._send(header)
        self._send(sealed)
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += len(packet)

    # -- in

    def _recv_pkthdr(self) -> bool:
        """Take all whole packets of channel data, and one other. False to wait for more."""
        encryption = self._recv_encryption
        if type(encryption) is not GCMEncryption or self._decompressor:
            return super()._recv_pkthdr()
        raw, at = memoryview(self._inpbuf), 0
        self._inpbuf = b""
        while (end := self._end(raw, at)) is not None:
            plain = self._open(encryption, raw[at:end])
            if plain[1] != MSG_CHANNEL_DATA or not self._take_data(plain):
                self._inpbuf = bytes(raw[at:])
                return self._process(encryption, plain, end - at)
            at = end
            if self._transport is None:
                return False
        self._inpbuf = bytes(raw[at:])
        return False

    def _end(self, raw: memoryview, at: int) -> int | None:
        """Where the packet ends; None when it is not all here."""
        if len(raw) - at < _LENGTH:
            return None
        length = int.from_bytes(raw[at : at + _LENGTH], "big")
        if not _LENGTH <= length <= self._max_recv_pktlen:
            raise asyncssh.ProtocolError("Max packet size exceeded")
        end = at + _LENGTH + length + _TAG
        return end if end <= len(raw) else None

    def _open(self, encryption: GCMEncryption, packet: memoryview) -> bytes:
        cipher = encryption._cipher
        if self._openers is None or self._openers[0] is not cipher:
            self._openers = cipher, AESGCM(cipher._key)
        try:
            plain = self._openers[1].decrypt(cipher._iv, packet[_LENGTH:], packet[:_LENGTH])
        except InvalidTag:
            raise asyncssh.MACError("MAC verification failed") from None
        cipher._update_iv()
        return plain

    def _take_data(self, plain: bytes) -> bool:
        """Give channel data to their channel. False for what asyncssh has to judge."""
        channel: Any = self._channels.get(int.from_bytes(plain[2:6], "big"))
        data = plain[_DATA_AT : -plain[0]]
        if (
            channel is None
            or not self._auth_complete
            or channel._recv_state != "open"
            or len(data) != int.from_bytes(plain[6:_DATA_AT], "big")
            or len(data) > channel._recv_window
        ):
            return False
        self._auth_final = True
        self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
        channel._accept_data(data)
        return True

    def _process(self, encryption: GCMEncryption, plain: bytes, size: int) -> bool:
        """Let asyncssh take a packet, which is the first of what was received."""
        self._pktlen = size - _LENGTH - _TAG
        self._packet = self._inpbuf[: self._recv_blocksize]
        self._inpbuf = self._inpbuf[self._recv_blocksize :]
        self._recv_encryption = _Opened(plain)
        self._recv_handler = self._recv_packet
        try:
            return self._recv_packet()
        finally:
            if type(self._recv_encryption) is _Opened:  # no new keys meanwhile
                self._recv_encryption = encryption
