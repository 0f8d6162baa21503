"""The entry point: the table of commands, and errors as exit codes.

Must import nothing heavy; every command's module is loaded when it is run.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from devbox.cli.lazy import Call, Entry, LazyGroup, OutputOption
from devbox.cli.screen import Output, Screen, fail
from devbox.model.errors import BadInput, DevboxError, Internal

_PROJECTS, _CONNECT, _SAVES = "Projects", "Connect", "Saves and releases"
_ACCESS, _SERVER, _MORE = "Runtimes and access", "Server", "More"

_UNREAD = 141
"""Nobody read what was written: what a shell calls the end by SIGPIPE."""

TABLE = {
    "create": Entry("devbox.cli.create", "create", "Make a project and start it.", _PROJECTS),
    "clone": Entry("devbox.cli.clone", "clone", "Make a project of another's files.", _PROJECTS),
    "list": Entry("devbox.cli.projects", "list_projects", "List projects.", _PROJECTS),
    "show": Entry("devbox.cli.projects", "show", "Show one project.", _PROJECTS),
    "start": Entry("devbox.cli.lifecycle", "start", "Start a project's box.", _PROJECTS),
    "stop": Entry("devbox.cli.lifecycle", "stop", "Stop a project's box.", _PROJECTS),
    "edit": Entry("devbox.cli.projects", "edit", "Change a project's settings.", _PROJECTS),
    "logs": Entry("devbox.cli.lifecycle", "logs", "What the main process wrote.", _PROJECTS),
    "disk": Entry("devbox.cli.disk", "disk", "Who uses what of the disk.", _PROJECTS),
    "delete": Entry("devbox.cli.projects", "delete", "Delete a project and its saves.", _PROJECTS),
    "ssh": Entry("devbox.cli.ssh", "ssh", "Open a shell, or run a command, in a box.", _CONNECT),
    "ssh-config": Entry(
        "devbox.cli.ssh_config", "ssh_config", "Let plain `ssh NAME.devbox` work.", _CONNECT
    ),
    "exec": Entry("devbox.cli.ssh", "execute", "Run a command in a box, streams apart.", _CONNECT),
    "open": Entry("devbox.cli.open", "open_project", "Open a project in an editor.", _CONNECT),
    "cp": Entry("devbox.cli.copy", "cp", "Copy files to and from a box.", _CONNECT),
    "forward": Entry("devbox.cli.forward", "forward", "Reach a box's ports here.", _CONNECT),
    "reverse": Entry("devbox.cli.reverse", "reverse", "Reach ports here in a box.", _CONNECT),
    "lsp": Entry("devbox.cli.lsp", "lsp", "A box's language servers for an editor.", _CONNECT),
    "ping": Entry("devbox.cli.ping", "ping", "Measure the way to a box.", _CONNECT),
    "save": Entry("devbox.cli.saves", "save", "Save a project's files now.", _SAVES),
    "saves": Entry("devbox.cli.saves", "saves", "List saves, in progress and done.", _SAVES),
    "saves diff": Entry("devbox.cli.diff", "diff", "What changed between two saves.", _SAVES),
    "restore": Entry("devbox.cli.restore", "restore", "Go back to a save, in place.", _SAVES),
    "release": Entry("devbox.cli.releases", "release", "Give a save a version.", _SAVES),
    "releases": Entry("devbox.cli.releases", "releases", "List releases.", _SAVES),
    "runtime": Entry("devbox.cli.runtimes", "app", "What projects start from.", _ACCESS),
    "token": Entry("devbox.cli.access", "token_app", "A project's tokens.", _ACCESS),
    "user": Entry("devbox.cli.access", "user_app", "Who may use the gateway.", _ACCESS),
    "login": Entry("devbox.cli.contexts", "login", "Use a gateway from here.", _ACCESS),
    "context": Entry("devbox.cli.contexts", "app", "Gateways that this machine knows.", _ACCESS),
    "server": Entry(
        "devbox.cli.server", "server_app", "Run the whole stack on this machine.", _SERVER
    ),
    "doctor": Entry(
        "devbox.cli.server", "doctor", "Find what is wrong here and how to mend it.", _SERVER
    ),
    "demo": Entry("devbox.cli.demo", "demo", "Tell the whole story on the real thing.", _MORE),
    "completion": Entry("devbox.cli.completion", "completion", "Let the shell complete.", _MORE),
    "version": Entry("devbox.cli.about", "version", "Versions of client and gateway.", _MORE),
}


class Root(LazyGroup):
    """All commands."""

    table = TABLE


app = typer.Typer(
    cls=Root,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="\b\nExamples:\n"
    "  devbox create hello --runtime python\n"
    "  devbox ssh hello\n"
    "  devbox stop hello",
)


@app.callback()
def root(
    ctx: typer.Context,
    output: OutputOption = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no remarks, only results.")
    ] = False,
    context: Annotated[
        str,
        typer.Option("--context", metavar="NAME", help="Use this context, not the current one."),
    ] = "",
) -> None:
    """Cloud development environments: a container whose files survive, reached by one address."""
    ctx.obj = Call(Screen(output or Output.TABLE, quiet=quiet), context)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code."""
    try:
        result = app(list(arguments), prog_name="devbox", standalone_mode=False)
    except DevboxError as error:
        return _failed(error, arguments)
    except typer.Abort:
        print("Nothing was done.", file=sys.stderr)
        return 130
    except typer.TyperException as error:
        return _misused(error, arguments)
    except BrokenPipeError:
        # The reader went away: what it did not want to read is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _UNREAD
    except Exception as error:  # the edge between a person and our fault
        return _fault(error, arguments)
    return result if isinstance(result, int) else 0


def _failed(error: DevboxError, arguments: Sequence[str]) -> int:
    fail(error, as_json=_wants_json(arguments))
    return error.exit_code


def _misused(error: typer.TyperException, arguments: Sequence[str]) -> int:
    """A command line that cannot be understood."""
    ctx = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return 0
    path = ctx.command_path if ctx is not None else "devbox"
    message = error.format_message().rstrip(".")
    wrong = BadInput(message[:1].lower() + message[1:], f"`{path} --help` tells how it is used.")
    return _failed(wrong, arguments)


def _fault(error: Exception, arguments: Sequence[str]) -> int:
    if os.environ.get("DEVBOX_DEBUG"):
        traceback.print_exc()
    ours = Internal(
        f"devbox itself failed: {type(error).__name__}: {error}",
        "Nothing on the server is changed by this. Set DEVBOX_DEBUG=1 to see where it happened.",
    )
    return _failed(ours, arguments)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether errors are JSON too. Read from the words, for they may not even parse."""
    before = list(arguments[: list(arguments).index("--")] if "--" in arguments else arguments)
    pairs = zip(before, [*before[1:], ""], strict=True)
    return any(
        (one in {"--output", "-o"} and two == "json") or one in {"--output=json", "-ojson"}
        for one, two in pairs
    )


def main() -> None:
    """`devbox`."""
    if "_DEVBOX_COMPLETE" in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End at once: taking the interpreter apart takes longer than a call to a gateway."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or _UNREAD
    os._exit(code)


if __name__ == "__main__":
    main()
