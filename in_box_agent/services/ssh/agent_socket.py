"""One stable place for the forwarded ssh-agent, whichever connection forwards it.

A shell that outlives its connection (tmux, nohup) finds the agent of the newest one there.
"""

import contextlib
import os


class AgentSocket:
    """A symbolic link to the newest live agent socket."""

    def __init__(self, place: str) -> None:
        self.place = place
        self._live: list[str] = []

    def add(self, path: str) -> None:
        """A connection forwards its agent at `path`."""
        if path not in self._live:
            self._live.append(path)
        self._point()

    def remove(self, path: str) -> None:
        """That connection is gone."""
        if path in self._live:
            self._live.remove(path)
            self._point()

    def _point(self) -> None:
        """The link changes in one step, so that nobody finds it missing."""
        with contextlib.suppress(OSError):
            if not self._live:
                os.unlink(self.place)
                return
            new = f"{self.place}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            os.symlink(self._live[-1], new)
            os.rename(new, self.place)
