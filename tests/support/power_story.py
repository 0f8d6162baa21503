"""The program whose power is cut: an upper is made, saved three times, and given back.

    python -m tests.support.power_story DIRECTORY

A line `MARK …` on standard output says what must have survived from then on.
"""

import asyncio
import os
import sys
from pathlib import Path

from devbox.edge.layout import Layout, ServerSettings
from devbox.edge.registry import Registry
from devbox.model.projects import WhenBusy
from devbox.model.saves import SaveReason, SaveStep
from node_agent.agent.parts import SaveWork
from node_agent.journal import Box, Journal
from node_agent.saver import Saver
from node_agent.saver.writer import RegistryWriter
from node_agent.upper import Uppers
from node_agent.upper.removing import Removing
from tests.support.registry import running_registry
from tests.support.saved_images import push_base

UID = "p1"


def mark(words: str) -> None:
    """Say it."""
    os.write(1, f"MARK {words}\n".encode())


async def save(journal: Journal, writer: RegistryWriter, number: int) -> None:
    """One box's life and its save, as the node agent makes it."""
    container = f"c{number}"
    journal.link_box(Box(container, "s1", "pod1", UID, number))
    upper = journal.upper(UID)
    assert upper is not None
    (Path(upper.path) / f"file-{number}").write_text(f"content {number}")
    journal.box_ended(container)
    seq = journal.want_save(UID, generation=number, reason=SaveReason.STOPPED, now=1.0)
    assert seq is not None
    mark(f"wanted {seq}")
    journal.begin(UID)
    work = SaveWork(
        upper=upper,
        seq=seq,
        tags=(),
        cgroup=None,
        when_busy=WhenBusy.RETRY,
        only_changes=True,
        known=journal.newest_digest(UID),
    )

    def on_step(step: SaveStep) -> None:
        if step is SaveStep.WRITTEN:
            journal.move(UID, seq, step)

    saved = await writer.save(work, on_step, lambda done, expected: None)
    journal.move(UID, seq, SaveStep.PUSHED, image=saved.image, digest=saved.image.digest)
    mark(f"pushed {seq} {saved.image.digest}")
    journal.reported([row.save for row in journal.unreported_saves()])
    journal.reported([row.save for row in journal.unreported_saves()])
    mark(f"recorded {seq} {saved.image.digest}")
    journal.forget_box(container)


async def story(directory: Path) -> None:
    """Tell it."""
    layout = Layout(data=directory, run=directory / "run")
    for path in (layout.uppers, layout.indexes, directory / "work", directory / "lower"):
        path.mkdir(parents=True)
    (directory / "lower" / "base").write_text("base")
    with running_registry(directory / "work", layout.registry) as server:
        async with Registry(server.url) as registry, Saver(registry, nice=0) as saver:
            base = await push_base(registry, "runtimes/plain", directory / "lower")
            os.sync()
            journal = Journal.open(layout.journal)
            mark("journal")
            uppers = Uppers(layout, journal)
            with uppers.hold(UID):
                uppers.open(UID, base, "x", directory / "lower")
            mark("upper")
            writer = RegistryWriter(registry, saver, layout, ServerSettings())
            for number in range(1, 4):
                await save(journal, writer, number)
            last = journal.last_recorded(UID)
            assert last is not None
            assert last.image is not None
            await writer.confirm(last.image)
            removing = Removing(uppers)
            await removing.collect(UID)
            mark("gone")
            await removing.idle()
            await removing.close()
            journal.close()


if __name__ == "__main__":
    asyncio.run(story(Path(sys.argv[1])))
