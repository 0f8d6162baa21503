"""Who uses what of the disk, as a person sees it."""

import json

import msgspec
import pytest

from devbox.model.disk import Disk, ProjectDisk, RuntimeDisk
from devbox.model.orchestrator import AskDisk
from tests.devbox.cli.conftest import Cli

FOUND = Disk(
    node="node-1",
    total_bytes=100 << 30,
    free_bytes=40 << 30,
    low_bytes=10 << 30,
    high_bytes=15 << 30,
    floor_bytes=2 << 30,
    projects=(
        ProjectDisk(
            project_uid="p",
            namespace="default",
            name="hello",
            changed_bytes=3 << 20,
            kept="cache",
            saves_bytes=2 << 20,
            releases_bytes=1 << 20,
        ),
        ProjectDisk(project_uid="q", saves_bytes=5),
    ),
    runtimes=(RuntimeDisk(name="python", bytes=70 << 20),),
    shared_bytes=4 << 20,
    images_bytes=1 << 30,
)


@pytest.fixture
def asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> list[AskDisk]:
    found: list[AskDisk] = []

    async def get_disk(request: AskDisk) -> Disk:
        found.append(request)
        return FOUND

    monkeypatch.setattr(cli.orchestrator, "get_disk", get_disk)
    return found


@pytest.mark.smoke
def test_projects_are_a_table_and_the_rest_is_told(cli: Cli, asked: list[AskDisk]) -> None:
    lines = cli.ok("disk").splitlines()
    row = " ".join(lines[1].split())
    assert row == "hello default 3.0 MiB cache 2.0 MiB 1.0 MiB 6.0 MiB"
    assert lines[2].startswith("(being deleted)")
    told = "\n".join(lines[3:])
    assert "python 70 MiB" in told
    assert "4.0 MiB, of several projects, counted once" in told
    assert "40 GiB of 100 GiB on node-1" in told
    assert "below 2.0 GiB, no box starts" in told
    assert "Waste" not in told
    assert asked == [AskDisk()]


def test_json_is_the_answer_itself_and_a_namespace_narrows(cli: Cli, asked: list[AskDisk]) -> None:
    told = json.loads(cli.ok("disk", "--namespace", "team", "-o", "json"))
    assert msgspec.convert(told, Disk) == FOUND
    assert asked == [AskDisk(namespaces=("team",))]
