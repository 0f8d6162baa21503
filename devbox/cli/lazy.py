"""Commands that are imported when they are run, not when `devbox` starts.

Owns how a function becomes a command: its examples, and the options that every command has. Must
not know any command, and imports nothing heavy: shells call it at every press of Tab.
"""

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Coroutine, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from devbox.cli.screen import Output, Screen
from devbox.cli.values import read_plainly
from devbox.model.errors import BadInput

_BEHIND = "devbox.behind"
_ARGUMENT_TYPE = re.compile(r"(?<=\w)\]? <(?:list\[)?str\]?>")


T = TypeVar("T")


class Entry(NamedTuple):
    """Where a command lies: a function made by `command`, or a `typer.Typer` for a group."""

    module: str
    attribute: str
    help: str
    section: str


class Call(NamedTuple):
    """What every command is given: where to write, and which context was asked for."""

    screen: Screen
    context: str = ""
    """Name of a context; empty is the one in use."""


OutputOption = Annotated[
    Output | None,
    typer.Option("--output", "-o", help="How results are written: table or json."),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no remarks, only results.")
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="NAME", help="Use this context, not the current one.")
]


def command(
    *examples: str, passes_arguments: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Make a command of a function whose first parameter is a Call.

    `examples` end its help. With `passes_arguments` what follows `--` reaches the function as
    `arguments`, untouched. A coroutine function is run to its end.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(function)
        def invoke(
            ctx: typer.Context,
            output: Output | None,
            quiet: bool,
            context: str,
            **options: Any,
        ) -> None:
            call = _call(ctx, output, quiet=quiet, context=context)
            if passes_arguments:
                options["arguments"] = ctx.meta.get(_BEHIND, [])
            _run(call, function, options)

        invoke.__signature__ = _signature(function, passes_arguments)  # type: ignore[attr-defined]
        invoke.__annotations__ = {
            name: parameter.annotation
            for name, parameter in inspect.signature(invoke).parameters.items()
        }
        invoke.settings = {  # type: ignore[attr-defined]
            "epilog": _epilog(examples),
            "cls": PassingCommand if passes_arguments else StyledCommand,
        }
        return invoke

    return decorate


def _signature(function: Callable[..., Any], passes_arguments: bool) -> inspect.Signature:
    own = list(inspect.signature(function).parameters.values())[1:]
    if passes_arguments:
        own = [parameter for parameter in own if parameter.name != "arguments"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [
        inspect.Parameter("output", keyword, default=None, annotation=OutputOption),
        inspect.Parameter("quiet", keyword, default=False, annotation=QuietOption),
        inspect.Parameter("context", keyword, default="", annotation=ContextOption),
    ]
    first = inspect.Parameter("ctx", keyword, annotation=typer.Context)
    return inspect.Signature([first, *(p.replace(kind=keyword) for p in own), *shared])


def _call(ctx: typer.Context, output: Output | None, *, quiet: bool, context: str) -> Call:
    given = ctx.find_root().obj
    outer: Call = given if isinstance(given, Call) else Call(Screen())
    screen = Screen(
        output=output or outer.screen.output,
        quiet=quiet or outer.screen.quiet,
    )
    return Call(screen, context or outer.context or os.environ.get("DEVBOX_CONTEXT", ""))


def _run(call: Call, function: Callable[..., Any], options: dict[str, Any]) -> None:
    try:
        result = function(call, **options)
        if inspect.iscoroutine(result):
            result = to_end(result)
    except KeyboardInterrupt:
        call.screen.interrupted()
        raise typer.Exit(130) from None
    if isinstance(result, int) and result:
        raise typer.Exit(result)


def to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on the loop that moves bytes fastest; it costs 2 ms more to import than asyncio's own."""
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def _epilog(examples: tuple[str, ...]) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples) if examples else ""


def group(help_text: str, **functions: Callable[..., None]) -> typer.Typer:
    """A command group of functions made by `command`."""
    app = typer.Typer(
        help=help_text,
        cls=StyledGroup,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name, function in functions.items():
        app.command(name, **function.settings)(function)  # type: ignore[attr-defined]
    return app


def _styled(text: str) -> str:
    """Headings bold on a terminal that wants it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "\n".join(
        typer.style(line, bold=True) if line.endswith(":") and not line.startswith(" ") else line
        for line in text.split("\n")
    )


class StyledCommand(TyperCommand):
    """A command whose help has bold headings, and names arguments as people do."""

    def get_help(self, ctx: Any) -> str:
        """The help page."""
        plain = _ARGUMENT_TYPE.sub(lambda found: " " * len(found[0]), super().get_help(ctx))
        return _styled(plain)

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` too."""
        return read_plainly(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] NAME`: an optional argument in brackets, nothing in braces."""
        arguments = [param for param in self.get_params(ctx) if not param.opts[0].startswith("-")]
        shown = [(str(one.metavar or one.name).strip("[]"), one.required) for one in arguments]
        return ["[OPTIONS]", *(name if required else f"[{name}]" for name, required in shown)]


class PassingCommand(StyledCommand):
    """A command that hands on what follows `--`, and takes none of it for its own."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """With what may follow `--`."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND…]"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        split = args.index("--") if "--" in args else len(args)
        ctx.meta[_BEHIND] = args[split + 1 :]
        return super().parse_args(ctx, args[:split])


class StyledGroup(TyperGroup):
    """A group whose help has bold headings."""

    def get_help(self, ctx: Any) -> str:
        """The help page."""
        return _styled(super().get_help(ctx))

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, `--help` too."""
        return read_plainly(super().get_params(ctx))


class LazyGroup(StyledGroup):
    """The root: knows its commands by a table and imports only the one that is run."""

    table: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """All names, in the table's order."""
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import a command. None when there is no such one."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        thing = getattr(import_module(entry.module), entry.attribute)
        return _built(thing, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that `args` begins with. Raises BadInput with the nearest names."""
        name = args[0]
        two_words = " ".join(args[:2])
        if two_words in self.table and len(args) > len(two_words.split()):
            # Without more words `saves diff` is the saves of a project called diff.
            return two_words, self.get_command(ctx, two_words), args[2:]
        if name not in self.table and not name.startswith("-") and not ctx.resilient_parsing:
            near = get_close_matches(name, self.table)
            hint = f"Did you mean {' or '.join(near)}?" if near else "`devbox --help` lists all."
            raise BadInput(f"there is no command {name!r}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """The table, by section, without importing anything."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.table.items():
            sections.setdefault(entry.section, []).append((name, entry.help))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_spacing=4)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names of commands from the table."""
        from typer._click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=entry.help)
            for name, entry in self.table.items()
            if name.startswith(incomplete) and " " not in name
        ]


def _built(thing: Any, name: str) -> Any:
    if isinstance(thing, typer.Typer):
        built: Any = typer.main.get_group(thing)
    else:
        app = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        app.command(name, **getattr(thing, "settings", {}))(thing)
        built = typer.main.get_command(app)
    built.name = name
    return built
