"""`devbox completion`: the shell completes commands, options and names of projects."""

import os
from pathlib import Path
from typing import Annotated

import typer

from devbox.cli.lazy import Call, command
from devbox.model.errors import BadInput

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_DEVBOX_COMPLETE"


@command('eval "$(devbox completion bash)"', "devbox completion --install")
def completion(
    call: Call,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")] = "",
    install: Annotated[
        bool, typer.Option("--install", help="Add it to the shell's start-up file.")
    ] = False,
) -> None:
    """Print the shell's completion script, or install it."""
    from typer._completion_shared import get_completion_script
    from typer._completion_shared import install as install_script

    wanted = shell or Path(os.environ.get("SHELL", "bash")).name
    if wanted not in _SHELLS:
        raise BadInput(f"there is no completion for {wanted!r}", f"There is: {', '.join(_SHELLS)}.")
    if not install:
        script = get_completion_script(prog_name="devbox", complete_var=_VARIABLE, shell=wanted)
        call.screen.answer({"shell": wanted, "script": script})
        call.screen.say(script)
        return
    _, path = install_script(shell=wanted, prog_name="devbox", complete_var=_VARIABLE)
    call.screen.answer({"shell": wanted, "file": str(path)})
    call.screen.say(f"Completion is in {path}. New shells have it.")
