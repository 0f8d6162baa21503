"""`devbox disk`: who uses what of the server's disk."""

from typing import TYPE_CHECKING

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace
from devbox.cli.units import size

if TYPE_CHECKING:
    from devbox.model.disk import Disk, ProjectDisk


@command("devbox disk", "devbox disk --namespace team", "devbox disk --output json")
async def disk(call: Call, namespace: Namespace = "") -> None:
    """Show who uses what of the server's disk. It is measured now."""
    from devbox.cli.reach import open_gateway
    from devbox.model.orchestrator import AskDisk

    async with open_gateway(call) as gateway:
        wanted = (namespace,) if namespace else None
        with call.screen.progress("Measuring the disk"):
            found = await gateway.api.get_disk(AskDisk(namespaces=wanted))
    call.screen.answer(found)
    if found.projects:
        columns = ("project", "namespace", ">files", "kept as", ">saves", ">releases", ">in all")
        call.screen.table(columns, [_row(one) for one in found.projects])
        call.screen.say()
    for label, text in _totals(found):
        call.screen.say(f"{label + ':':<18}{text}")


def _row(one: "ProjectDisk") -> tuple[str, ...]:
    return (
        one.name or "(being deleted)",
        one.namespace or "-",
        _size(one.changed_bytes),
        one.kept or "only saves",
        _size(one.saves_bytes),
        _size(one.releases_bytes),
        _size(one.total_bytes),
    )


def _size(count: int) -> str:
    return size(count) if count else "-"


def _totals(found: "Disk") -> list[tuple[str, str]]:
    runtimes = ", ".join(f"{one.name} {size(one.bytes)}" for one in found.runtimes)
    limits = (
        f"below {size(found.low_bytes)} free, saved files of stopped projects are given back, "
        f"longest unused first, until {size(found.high_bytes)} are free; "
        f"below {size(found.floor_bytes)}, no box starts"
    )
    parts = [
        ("Runtimes", runtimes or "none"),
        ("Shared saves", f"{size(found.shared_bytes)}, of several projects, counted once"),
        ("Node's images", f"{size(found.images_bytes)}, unpacked for boxes"),
        ("Waste", f"{size(found.unused_bytes)}, goes by itself"),
        ("Free", f"{size(found.free_bytes)} of {size(found.total_bytes)} on {found.node}"),
        ("Limits", limits),
    ]
    return [part for part in parts if part[0] not in {"Shared saves", "Waste"} or part[1][0] != "0"]
