"""`devbox release|releases`: saves with a version, which never change."""

import time
from typing import Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, ProjectName
from devbox.cli.units import age, duration, size

_DIGEST_SHOWN = 12

Version = Annotated[
    str, typer.Argument(metavar="VERSION", help="Letters, digits, '.', '_' and '-'.")
]
Notes = Annotated[str, typer.Option("--notes", metavar="TEXT", help="What is in it.")]


@command('devbox release hello v1 --notes "First that works"')
async def release(
    call: Call, name: ProjectName, version: Version, namespace: Namespace = "", notes: Notes = ""
) -> None:
    """Give the project's present state a version. Saves first when something changed."""
    from devbox.cli.reach import open_project
    from devbox.model.names import check_version
    from devbox.model.orchestrator import MakeRelease

    check_version(version)
    begun = time.monotonic()
    async with open_project(call, name, namespace) as (gateway, key):
        request = MakeRelease(namespace=key.namespace, name=key.name, version=version, notes=notes)
        aside = f"The release goes on by itself: devbox releases {key.name}"
        with call.screen.goes_on(aside), call.screen.progress(f"Releasing {key.name}") as report:
            report(version)
            made = await gateway.api.make_release(request)
    call.screen.answer(made)
    call.screen.say(
        f"{key.name}:{made.version} is released: save {made.save_seq}, {size(made.total_bytes)} "
        f"({duration(time.monotonic() - begun)})."
    )
    call.screen.note(f"Next: devbox create another --runtime {key.name}:{made.version}")


@command("devbox releases hello")
async def releases(call: Call, name: ProjectName, namespace: Namespace = "") -> None:
    """List a project's releases, newest first."""
    from devbox.cli.reach import open_project

    async with open_project(call, name, namespace) as (gateway, key):
        found = await gateway.api.list_releases(key)
    call.screen.answer(found)
    if not found.releases:
        call.screen.note(
            f"{key.name} has no release yet. `devbox release {key.name} v1` makes one."
        )
        return
    now = time.time()
    call.screen.table(
        ("version", "released", ">save", ">size", "digest", "notes"),
        [
            (
                one.version,
                age(one.created_at, now),
                str(one.save_seq),
                size(one.total_bytes),
                one.digest.removeprefix("sha256:")[:_DIGEST_SHOWN],
                one.notes.partition("\n")[0],
            )
            for one in found.releases
        ],
    )
