"""`devbox saves diff`: what changed between two saves."""

from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName
from devbox.cli.units import size

if TYPE_CHECKING:
    from devbox.model.saves import PathChange, SaveDiff

_MARKS = {"added": "+", "changed": "~", "deleted": "-"}

Older = Annotated[int, typer.Argument(metavar="A", min=1, help="The older save.")]
Newer = Annotated[
    int, typer.Argument(metavar="B", min=0, help="The other save.", show_default="the newest")
]
After = Annotated[
    str, typer.Option("--after", metavar="PATH", help="Only paths behind this one: the next page.")
]
Limit = Annotated[
    int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="At most so many paths.")
]


@command(
    "devbox saves diff hello 3",
    "devbox saves diff hello 3 7 --limit 20",
    "devbox saves diff hello 3 --output json",
)
async def diff(
    call: Call,
    name: ProjectName,
    older: Older,
    newer: Newer = 0,
    namespace: Namespace = "",
    after: After = "",
    limit: Limit = 1000,
) -> None:
    """List the paths that were added, changed or deleted between two saves. Times do not count."""
    from devbox.cli.reach import open_project
    from devbox.model.orchestrator import DiffSaves

    async with open_project(call, name, namespace) as (gateway, key):
        request = DiffSaves(
            namespace=key.namespace,
            name=key.name,
            older=older,
            newer=newer,
            after=after,
            limit=limit,
        )
        with call.screen.progress(f"Comparing saves of {key.name}") as report:
            report("reading their layers")
            found = await gateway.api.diff_saves(request)
    call.screen.answer(found)
    if not found.changes and not after:
        call.screen.note(f"Saves {found.older} and {found.newer} hold the same files.")
        return
    call.screen.table(("", ">before", ">after", "path"), [_row(one) for one in found.changes])
    call.screen.note(_sum(found))
    if found.next_after:
        call.screen.note(f"There are more: --after {found.next_after!r}")


def _row(one: "PathChange") -> tuple[str, ...]:
    change = str(one.change)
    return (
        _MARKS[change],
        "-" if change == "added" else size(one.old_bytes),
        "-" if change == "deleted" else size(one.new_bytes),
        one.path,
    )


def _sum(found: "SaveDiff") -> str:
    return (
        f"From save {found.older} to {found.newer}: {found.added} added, "
        f"{found.changed} changed, {found.deleted} deleted."
    )
