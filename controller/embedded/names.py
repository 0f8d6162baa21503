"""Names of boxes as DNS messages (RFC 1035). Pure.

A box asks for `db` and gets the address of the box `db` of its own namespace. Only that: names of
other namespaces do not exist for it. All else is somebody else's to answer.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

DOMAIN = "devbox.internal"
TTL_S = 1
"""Boxes move at each start."""

_HEADER = struct.Struct(">HHHHHH")
_TYPE_A, _TYPE_ANY, _CLASS_IN = 1, 255, 1
_RESPONSE, _AUTHORITATIVE, _RECURSION = 0x8000, 0x0400, 0x0080
_NO_NAME, _FAILED = 3, 2
_MAX_LABEL = 63


@dataclass(frozen=True)
class Question:
    """What a message asks."""

    name: str
    """Lower case, without the last dot."""
    type: int
    end: int
    """Where the question ends in the message."""


def parse(message: bytes) -> Question | None:
    """The one question of a query; None for anything else."""
    if len(message) < _HEADER.size:
        return None
    _, flags, questions, *_ = _HEADER.unpack_from(message)
    if flags & _RESPONSE or flags & 0x7800 or questions != 1:
        return None
    labels: list[str] = []
    at = _HEADER.size
    while at < len(message) and (length := message[at]):
        if length > _MAX_LABEL or at + 1 + length > len(message):
            return None
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    if at + 5 > len(message):
        return None
    kind, klass = struct.unpack_from(">HH", message, at + 1)
    if klass not in {_CLASS_IN, _TYPE_ANY}:
        return None
    return Question(name=".".join(labels), type=kind, end=at + 5)


def local(name: str, namespace: str) -> tuple[str, str] | None:
    """(namespace, project) when the name is one of ours as asked from `namespace`."""
    if name == DOMAIN:
        return namespace, ""
    inside = name.removesuffix(f".{DOMAIN}")
    labels = inside.split(".") if inside else []
    if inside == name and len(labels) == 1:
        return namespace, labels[0]
    if inside == name:
        # `db.team` is ours only when it names the asking box's own namespace.
        return (namespace, labels[0]) if labels[1:] == [namespace] else None
    if len(labels) == 2:
        return labels[1], labels[0]
    return namespace, ""


def answer(
    message: bytes, namespace: str | None, find: Callable[[str, str], str | None]
) -> bytes | None:
    """The answer to a query from a box of `namespace`; None when others should answer it.

    `find(namespace, project)` gives an address.
    """
    question = parse(message)
    if question is None:
        return failure(message)
    if namespace is None:
        return None
    ours = local(question.name, namespace)
    if ours is None:
        return None
    address = find(*ours) if ours[0] == namespace else None
    if address is None:
        return _reply(message, question, code=_NO_NAME)
    wanted = question.type in {_TYPE_A, _TYPE_ANY}
    return _reply(message, question, address=address if wanted else None)


def failure(message: bytes) -> bytes | None:
    """SERVFAIL for a message, if it can be answered at all."""
    if len(message) < _HEADER.size or message[2] & 0x80:
        return None
    question = parse(message)
    if question is None:
        (identity,) = struct.unpack_from(">H", message)
        return _HEADER.pack(identity, _RESPONSE | _FAILED, 0, 0, 0, 0)
    return _reply(message, question, code=_FAILED)


def _reply(
    message: bytes, question: Question, *, address: str | None = None, code: int = 0
) -> bytes:
    identity, asked = struct.unpack_from(">HH", message)
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION | asked & 0x0100 | code
    head = _HEADER.pack(identity, flags, 1, 1 if address else 0, 0, 0)
    body = message[_HEADER.size : question.end]
    if not address:
        return head + body
    # 0xC00C points at the question's name.
    record = struct.pack(">HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, TTL_S, 4)
    return head + body + record + IPv4Address(address).packed
