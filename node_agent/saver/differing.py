"""What is different in two images of one project, from the listings of their layers. Pure.

The layers that both begin with are the ground. Where both leave the ground as it is nothing can
differ, so of the ground only paths are looked at that a layer above it names or hides.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from devbox.model.saves import Change, PathChange, SaveDiff
from node_agent.saver import headers
from node_agent.saver.merging import Above, Entry
from node_agent.saver.notes import shown

MOST_PAGE_BYTES = 1 << 20
"""Of paths in one page."""
_WHITEOUT = b".wh."


class Fact(msgspec.Struct, frozen=True):
    """What makes a file what it is. Times do not."""

    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    content: bytes
    """A hash of the content, what a link points to, or a device's numbers."""
    attributes: tuple[tuple[bytes, bytes], ...] = ()


Listing = Sequence[tuple[Entry, Fact]]
State = dict[bytes, Fact]
Keep = Callable[[bytes], bool]


def above_of(listings: Sequence[Listing]) -> Above:
    """What layers, oldest first, make of all below them."""
    above = Above()
    for listing in reversed(listings):
        above.add([entry for entry, _ in listing])
    return above


def interest(*both: Sequence[Listing]) -> Keep:
    """Whether a path of the ground may be different above it."""
    named: set[bytes] = set()
    closed: set[bytes] = set()
    for listings in both:
        above = above_of(listings)
        named |= above.seen | above.gone
        closed |= above.gone | above.closed

    def keep(path: bytes) -> bool:
        return path in named or any(parent in closed for parent in _parents(path))

    return keep


def flatten(listings: Sequence[Listing], keep: Keep, above: Above) -> State:
    """The files that layers, oldest first, hold together below `above`, which grows by them."""
    state: State = {}
    for listing in reversed(listings):
        found = [entry for entry, _ in listing]
        for entry, fact in listing:
            if _is_whiteout(entry.path) or above.hides(entry) or not keep(entry.path):
                continue
            state[entry.path] = fact
        above.add(found)
    return state


def whole(ground: State, listings: Sequence[Listing]) -> State:
    """The files of an image, as far as they are of interest."""
    above = Above()
    state = flatten(listings, lambda _: True, above)
    below = {
        path: fact
        for path, fact in ground.items()
        if not above.hides(Entry(b"", path, fact.kind, fact.size))
    }
    return below | state


def compare(old: State, new: State) -> list[PathChange]:
    """In order of path as people see it."""
    return sorted(_changes(old, new), key=lambda change: change.path)


def _changes(old: State, new: State) -> Iterator[PathChange]:
    for path in old.keys() | new.keys():
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        change = Change.CHANGED
        if before is None or after is None:
            change = Change.ADDED if before is None else Change.DELETED
        yield PathChange(
            path=shown(path),
            change=change,
            old_bytes=before.size if before else 0,
            new_bytes=after.size if after else 0,
        )


def page(empty: SaveDiff, changes: Sequence[PathChange], after: str, limit: int) -> SaveDiff:
    """`limit` changes at most, those after a path; the counts are of all."""
    rest = [change for change in changes if change.path > after]
    shown_bytes, end = 0, 0
    while end < min(limit, len(rest)) and shown_bytes < MOST_PAGE_BYTES:
        shown_bytes += len(rest[end].path)
        end += 1
    counts = [change.change for change in changes]
    return msgspec.structs.replace(
        empty,
        changes=tuple(rest[:end]),
        added=counts.count(Change.ADDED),
        changed=counts.count(Change.CHANGED),
        deleted=counts.count(Change.DELETED),
        next_after=rest[end - 1].path if end < len(rest) else "",
    )


def _is_whiteout(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(_WHITEOUT)


def _parents(path: bytes) -> Iterator[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def resolve_links(listing: list[tuple[Entry, Fact]]) -> Listing:
    """A hard link is the file that it is another name of, which lies before it in its layer."""
    facts: State = {}
    resolved = []
    for entry, own in listing:
        fact = facts.get(entry.link, own) if entry.kind == headers.LINK else own
        facts[entry.path] = fact
        resolved.append((entry, fact))
    return resolved
