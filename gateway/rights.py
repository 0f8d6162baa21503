"""Who may still reach a project: the token ids that open it now. Asks the Orchestrator alone."""

import time
from collections.abc import Callable

from devbox.model import orchestrator as o
from devbox.model.errors import NotFound
from devbox.model.projects import Desired

USER = "user:"
"""Before the token id of a user, so that it is never taken for a project's."""


class Rights:
    """Asks anew each time."""

    def __init__(
        self, orchestrator: o.Orchestrator, clock: Callable[[], float] = time.time
    ) -> None:
        self._orchestrator = orchestrator
        self._clock = clock

    async def alive(self, key: o.ProjectKey, project_uid: str) -> frozenset[str] | None:
        """The ids that open this very project; None when it is gone. Raises DevboxError."""
        try:
            project = await self._orchestrator.get_project(key)
            if project.uid != project_uid or project.desired is Desired.DELETED:
                return None
            tokens = (await self._orchestrator.list_tokens(key)).tokens
        except NotFound:
            return None
        now = self._clock()
        users = (await self._orchestrator.list_users(o.Nothing())).users
        return frozenset(
            [one.id for one in tokens if not one.expires_at or one.expires_at > now]
            + [USER + user.token_id for user in users]
        )
