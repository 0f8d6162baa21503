"""A box without a container: what the commit-shim would note of it, and what it writes."""

import os
import time
from typing import TYPE_CHECKING

from devbox.model.projects import Image
from devbox.model.saves import SaveReason, UpperState
from node_agent.journal import Box, Upper
from tests.support.node_parts import NodeParts

if TYPE_CHECKING:
    from pathlib import Path


class Life:
    """One project's box, which comes and goes."""

    def __init__(self, parts: NodeParts, base: Image, uid: str = "p1") -> None:
        self.parts = parts
        self.uid = uid
        self.upper: Path = parts.layout.uppers / uid / "fs"
        self.upper.mkdir(parents=True)
        row = Upper(
            project_uid=uid,
            path=str(self.upper),
            image=base,
            chain_id="x",
            generation=1,
            state=UpperState.DIRTY,
        )
        parts.journal.put_upper(row)

    def live(self, word: str, *, size: int = 0) -> None:
        """Start, write, end."""
        journal = self.parts.journal
        container = f"{self.uid}-{word}"
        journal.link_box(Box(container, "s1", "pod1", self.uid, 1))
        (self.upper / word).mkdir(exist_ok=True)
        (self.upper / word / "file").write_text(word)
        os.link(self.upper / word / "file", self.upper / word / "other")
        with (self.upper / "log").open("a") as log:
            log.write(word)
        if size:
            (self.upper / "blob").write_bytes(os.urandom(size))
        journal.box_ended(container)
        self.want()
        journal.forget_box(container)

    def restart(self, container: str) -> None:
        """A box that starts, changes nothing and ends."""
        journal = self.parts.journal
        journal.link_box(Box(container, "s1", "pod1", self.uid, 1))
        journal.box_ended(container)
        self.want(SaveReason.CRASHED)
        journal.forget_box(container)

    def want(self, reason: SaveReason = SaveReason.STOPPED) -> int | None:
        """As the commit-shim wants a save."""
        return self.parts.journal.want_save(self.uid, generation=1, reason=reason, now=time.time())
