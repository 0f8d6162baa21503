"""The open links of this process, found by token and by project."""

import itertools
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Protocol

from devbox.model.orchestrator import ProjectKey
from gateway.access import unauthorized

_REMEMBERED = 10_000


class Link(Protocol):
    """What joins a client and a box."""

    @property
    def moved(self) -> int:
        """Bytes of both directions."""

    @property
    def held(self) -> int:
        """Bytes taken from one side and not yet given to the other."""

    def abort(self) -> None:
        """Close both sides at once."""


@dataclass(frozen=True)
class Owner:
    """Whose link it is."""

    key: ProjectKey
    project_uid: str
    token_id: str


class Links:
    """Knows every open link until it is gone.

    It remembers for a while whose right has ended, because a link may be opening meanwhile.
    """

    def __init__(self) -> None:
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._owners: dict[Link, Owner] = {}
        self._by_token: defaultdict[str, set[Link]] = defaultdict(set)
        self._by_project: defaultdict[str, set[Link]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._owners)

    def check(self, owner: Owner) -> None:
        """Raises Unauthorized when the right to a link ended while it was opening."""
        if owner.token_id in self._ended or owner.project_uid in self._ended:
            raise unauthorized()

    def add(self, link: Link, owner: Owner) -> None:
        """A link is open. Raises Unauthorized as `check` does."""
        self.check(owner)
        self._owners[link] = owner
        self._by_token[owner.token_id].add(link)
        self._by_project[owner.project_uid].add(link)

    def remove(self, link: Link) -> None:
        """A link is gone."""
        owner = self._owners.pop(link)
        for index, name in (
            (self._by_token, owner.token_id),
            (self._by_project, owner.project_uid),
        ):
            index[name].discard(link)
            if not index[name]:
                del index[name]

    def all(self) -> tuple[Link, ...]:
        """All that are open."""
        return tuple(self._owners)

    def owners(self) -> set[Owner]:
        """Who has links now."""
        return set(self._owners.values())

    def close_token(self, token_id: str) -> int:
        """Close a token's links; tells how many."""
        self._remember(token_id)
        return _abort(self._by_token.get(token_id, set()))

    def close_project(self, project_uid: str) -> int:
        """Close a project's links; tells how many."""
        self._remember(project_uid)
        return _abort(self._by_project.get(project_uid, set()))

    def close_some(self, most: int) -> bool:
        """Close the oldest links, at most so many; whether any are left."""
        _abort(set(itertools.islice(self._owners, most)))
        return bool(self._owners)

    def close_all(self) -> int:
        """Close every link; tells how many."""
        return _abort(set(self._owners))

    def _remember(self, ended: str) -> None:
        self._ended[ended] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)


def _abort(links: set[Link]) -> int:
    found = tuple(links)
    for link in found:
        link.abort()
    return len(found)
