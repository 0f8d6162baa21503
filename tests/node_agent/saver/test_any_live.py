"""Any changes that a box makes while it is copied, and before it stands still, are in its save."""

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from devbox.edge.registry import Registry
from node_agent.saver.copying import Copied
from node_agent.saver.live import LiveCopy, _Missed
from tests.node_agent.saver.saves import order, save
from tests.support.changes import Change, apply, changes
from tests.support.inhabitants import cgroup, command, inhabitant
from tests.support.overlays import overlay
from tests.support.registry import RegistryServer
from tests.support.saved_images import check_names, layers, push_base, unpack_with_umoci
from tests.support.trees import differences, facts

pytestmark = pytest.mark.root
histories = st.tuples(changes, changes, st.lists(changes, min_size=1, max_size=2))
_SLOW = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


@settings(max_examples=4, **_SLOW)  # type: ignore[arg-type]
@example(
    (
        [("write", b"b", b"", 5)],
        [("write", b"a", b"", 7), ("mkdir", b"d", b"", 511), ("write", b"d/f", b"", 10)],
        [
            [("remove", b"a", b"", 1), ("write", b"d/g", b"", 11), ("remove", b"d/f", b"", 1)],
            [("remove", b"d", b"", 1), ("mkdir", b"d", b"", 511), ("rename", b"d", b"e", 0)],
        ],
    )
)
@given(history=histories)
async def test_changes_during_the_copy_are_saved(
    server: RegistryServer, history: tuple[list[Change], list[Change], list[list[Change]]]
) -> None:
    await tell(server, *history)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=500, **_SLOW)  # type: ignore[arg-type]
@given(history=histories)
async def test_many_changes_during_copies(
    server: RegistryServer, history: tuple[list[Change], list[Change], list[list[Change]]]
) -> None:
    await tell(server, *history)


async def tell(
    server: RegistryServer, base: list[Change], before: list[Change], during: list[list[Change]]
) -> None:
    moment = LiveCopy._moment
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as name,
        overlay(Path(name) / "box") as box,
        cgroup(f"devbox-test-{os.getpid()}-any") as group,
    ):
        apply(box.base, base)
        async with Registry(server.url) as registry:
            image = await push_base(registry, "runtimes/any-live", box.base)
            times = box.base.stat()
            box.mount()
            os.utime(box.merged, ns=(times.st_atime_ns, times.st_mtime_ns))
            apply(box.merged, before)
            with inhabitant(box.merged, group, "obey") as process:
                for number, todo in enumerate(during):
                    half = len(todo) // 2
                    parts = [todo[:half], todo[half:]]

                    async def changed(
                        copy: LiveCopy, done: Copied, parts: list[list[Change]] = parts
                    ) -> None:
                        """The first moment is missed, so what changed is copied while it runs."""
                        command(process, parts.pop(0))
                        if parts:
                            raise _Missed("more was to come")
                        await moment(copy, done)

                    ordered = order(
                        box.upper, image, Path(name) / "index", "any-live", cgroup=str(group)
                    )
                    with patch.object(LiveCopy, "_moment", changed):
                        saved = await save(registry, ordered)
                    assert "per file only" not in saved.note
                    check_names(await layers(registry, saved.image))
                    unpacked = await unpack_with_umoci(
                        registry, saved.image, Path(name) / f"out-{number}"
                    )
                    assert differences(facts(box.merged), facts(unpacked)) == []
