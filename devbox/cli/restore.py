"""`devbox restore`: a project goes back to an earlier save, in place."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.options import Namespace, NoWait, ProjectName
from devbox.cli.units import duration
from devbox.model.errors import Conflict

if TYPE_CHECKING:
    from devbox.cli.reach import Gateway
    from devbox.cli.screen import Report
    from devbox.model.orchestrator import AskedSave, ProjectKey
    from devbox.model.saves import Save

Seq = Annotated[
    int, typer.Argument(metavar="N", min=1, help="The save, as `devbox saves` numbers.")
]


@command("devbox restore hello 12")
async def restore(
    call: Call, name: ProjectName, seq: Seq, namespace: Namespace = "", no_wait: NoWait = False
) -> None:
    """Go back to an earlier save. The present files are saved first, and nothing is lost.

    A running box is stopped and started again; a stopped one stays stopped.
    """
    from devbox.cli.reach import open_project
    from devbox.cli.wait import until_ready
    from devbox.model.orchestrator import AskRestore
    from devbox.model.projects import Desired

    begun, done = time.monotonic(), None
    async with open_project(call, name, namespace) as (gateway, key):
        request = AskRestore(namespace=key.namespace, name=key.name, seq=seq)
        aside = f"The restore goes on by itself: devbox saves {key.name}"
        with call.screen.goes_on(aside), call.screen.progress(f"Restoring {key.name}") as report:
            report("saving the present files")
            project = await gateway.api.get_project(key)
            asked = await gateway.api.ask_restore(request)
            if not no_wait:
                done = await _until_restored(gateway, key, asked, report)
                if project.desired is Desired.RUNNING:
                    await until_ready(gateway, project, report)
    if done is None:
        call.screen.answer(asked)
        call.screen.say(f"Save {seq} of {key.name} is being restored: devbox saves {key.name}")
        return
    call.screen.answer(done)
    took = duration(time.monotonic() - begun)
    call.screen.say(f"{key.name} is as save {seq} had it; that is save {done.seq} now ({took}).")
    call.screen.note(f"Every save before is still there: devbox saves {key.name}")


async def _until_restored(
    gateway: "Gateway", key: "ProjectKey", asked: "AskedSave", report: "Report"
) -> "Save":
    from devbox.cli.wait import until_saved
    from devbox.model.saves import SaveStep

    done = await until_saved(gateway, key, asked.order_id, report)
    if done.order_id != asked.order_id or done.step is SaveStep.DROPPED:
        raise Conflict(
            f"nothing was restored: {done.note or 'the node refused'}",
            f"Its files are as they were. `devbox saves {key.name}` shows the saves there are.",
        )
    return done
