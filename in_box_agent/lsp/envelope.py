"""One JSON-RPC message (JSON-RPC 2.0; LSP 3.17, "Abstract Message"), its insides left as bytes.

Pure.
"""

import msgspec
from msgspec import UNSET, Raw, UnsetType

from devbox.model.errors import BadInput

Id = int | str

METHOD_NOT_FOUND = -32601
REQUEST_FAILED = -32803
REQUEST_CANCELLED = -32800


class Message(msgspec.Struct, kw_only=True):
    """A request has `id` and `method`, a notification `method`, a response `id`."""

    jsonrpc: str = "2.0"
    id: Id | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET

    @property
    def asked(self) -> Id:
        """The id of a request or a response that has one; -1 otherwise."""
        return -1 if self.id is None or isinstance(self.id, UnsetType) else self.id


class Error(msgspec.Struct, frozen=True):
    """What a response says when there is no result."""

    code: int
    message: str


_decoder = msgspec.json.Decoder(Message)


def decode(raw: bytes) -> Message:
    """Understand a message. Raises BadInput."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise BadInput(f"this is no message of LSP: {error}") from error


def encode(message: Message) -> bytes:
    """As bytes; what was not understood is as it came."""
    return msgspec.json.encode(message)


def raw(value: object) -> Raw:
    """A value as a message holds it."""
    return Raw(msgspec.json.encode(value))


def failure(asked: Id, code: int, message: str) -> Message:
    """The response to a request that cannot be answered."""
    return Message(id=asked, error=raw(Error(code, message)))
