"""`devbox demo`: the whole story, on the running server, with the real ssh.

Owns the order of the steps and their clean-up. What a step does is in `devbox.cli.story`.
"""

import secrets
import time
from typing import Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.cli.story import STEPS, Broken, Story
from devbox.cli.units import duration


@command("devbox demo", "devbox demo --keep")
def demo(
    call: Call,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the projects in place.")] = False,
) -> int:
    """Tell the whole story step by step, with times, and clean up behind it.

    Ends with 1 when a step does not do what it should.
    """
    story = Story(f"demo-{secrets.token_hex(2)}", call.context)
    told: list[dict[str, object]] = []
    try:
        with call.screen.goes_on("The demo's projects are being deleted."):
            good = all(_tell(call, story, number, told) for number in range(len(STEPS)))
    finally:
        if keep:
            call.screen.note(f"Left in place: {', '.join(story.made)}")
        else:
            left = story.clean_up()
            for name in left:
                call.screen.note(f"{name} could not be deleted: devbox delete {name} --yes")
    call.screen.answer({"ok": good, "steps": told})
    total = sum(float(str(step["seconds"])) for step in told)
    call.screen.say(
        f"The story holds ({duration(total)})." if good else "The story ends here; see above."
    )
    return 0 if good else 1


def _tell(call: Call, story: Story, number: int, told: list[dict[str, object]]) -> bool:
    """Carry one step out and show how it went."""
    title, step = STEPS[number]
    begun = time.monotonic()
    good = True
    with call.screen.progress(f"{number + 1}. {title}") as report:
        report("")
        try:
            detail = step(story)
        except Broken as broken:
            good, detail = False, str(broken)
    seconds = time.monotonic() - begun
    told.append({"step": title, "ok": good, "seconds": round(seconds, 3), "detail": detail})
    mark = "ok  " if good else "FAIL"
    call.screen.say(f"{mark} {number + 1:>2}. {title:<58} {duration(seconds):>10}")
    if detail:
        call.screen.say("\n".join(f"         {line}" for line in detail.splitlines()))
    return good
