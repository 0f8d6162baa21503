"""What people and scripts see: results on stdout, everything else on stderr.

Owns tables, JSON, progress and errors on the screen. Knows no command and no gateway. Rich is
imported only when a terminal shows a table or progress.
"""

import enum
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devbox.model.errors import DevboxError


class Output(enum.StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


Rows = Iterable[Sequence[str]]
Report = Callable[..., None]
"""`report(text, fraction=None)`: how far a long step is; a fraction is 0 to 1."""


_COLOUR = re.compile(r"(\x1b\[[\d;:]*m)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str, *, colours: bool = False) -> str:
    """Text of other people's, with nothing in it that a terminal would obey."""
    if not colours:
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    # Every second part is a colour.
    parts = _COLOUR.split(text)
    parts[::2] = [harmless(part) for part in parts[::2]]
    return "".join(parts) + ("\x1b[0m" if len(parts) > 1 else "")


def colourful(stream: Any) -> bool:
    """Whether a stream is a terminal that wants colour (https://no-color.org)."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


class Screen:
    """Where one command writes."""

    def __init__(self, output: Output = Output.TABLE, *, quiet: bool = False) -> None:
        self.output = output
        self.quiet = quiet
        self._goes_on = ""

    @property
    def as_json(self) -> bool:
        """Whether results are JSON."""
        return self.output is Output.JSON

    def say(self, text: str = "") -> None:
        """A result for people; nothing when results are JSON."""
        if not self.as_json:
            print(harmless(text), flush=True)

    def pass_on(self, text: str) -> None:
        """What a box wrote: as it is to a file, with nothing but its colours to a terminal."""
        if not self.as_json:
            print(harmless(text, colours=True) if sys.stdout.isatty() else text, flush=True)

    def note(self, text: str) -> None:
        """A remark beside the result."""
        if not self.quiet and not self.as_json:
            print(harmless(text), file=sys.stderr, flush=True)

    def answer(self, value: Any) -> None:
        """A result for scripts: a struct, or what JSON knows; nothing for people."""
        if self.as_json:
            import msgspec

            print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)

    def event(self, value: Any) -> None:
        """One of many results for scripts, in a line of its own; nothing for people."""
        if self.as_json:
            print(json.dumps(value), flush=True)

    @contextmanager
    def live(self, columns: Sequence[str]) -> Iterator[Callable[[Rows], None] | None]:
        """On a terminal, a table that changes in place; None where nobody looks."""
        if self.as_json or not sys.stdout.isatty():
            yield None
            return
        with _rich_live(columns) as redraw:
            yield redraw

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows for people. A column whose name begins with '>' stands to the right.

        Last columns in which nothing stands are left out.
        """
        if self.as_json:
            return
        lines = [[harmless(cell) for cell in row] for row in rows]
        shown = list(columns)
        while lines and len(shown) > 1 and not any(line[-1] for line in lines):
            shown, lines = shown[:-1], [line[:-1] for line in lines]
        if sys.stdout.isatty():
            _rich_table(shown, lines)
        else:
            _plain_table(shown, lines)

    @contextmanager
    def goes_on(self, text: str) -> Iterator[None]:
        """While this holds, Ctrl-C ends the command with `text`: what is safe, what goes on."""
        before, self._goes_on = self._goes_on, text
        yield
        self._goes_on = before

    def interrupted(self) -> None:
        """Say that the person ended the command."""
        print(f"\nInterrupted. {self._goes_on}".rstrip(), file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Report]:
        """Show how far a long step is."""
        if self.quiet or self.as_json:
            yield _silent
        elif sys.stderr.isatty():
            with _rich_progress(title) as report:
                yield report
        else:
            yield _plain_progress(title)


def fail(error: "DevboxError", *, as_json: bool) -> None:
    """Write an error: one sentence of what happened, one of what is safe and what to do."""
    if as_json:
        body = {"code": error.code, "message": error.message, "hint": error.hint}
        print(json.dumps(body, indent=2), file=sys.stderr, flush=True)
        return
    red, reset = ("\x1b[1;31m", "\x1b[0m") if colourful(sys.stderr) else ("", "")
    first, *more = _in_width(f"error: {harmless(error.message)}")
    print(f"{red}error:{reset}{first.removeprefix('error:')}", *more, sep="\n", file=sys.stderr)
    if error.hint:
        print(*_in_width(harmless(error.hint)), sep="\n", file=sys.stderr)
    sys.stderr.flush()


def _in_width(text: str) -> list[str]:
    """Lines that a terminal does not break inside words."""
    lines = text.splitlines() or [""]
    if not sys.stderr.isatty():
        return lines
    width = shutil.get_terminal_size().columns
    whole = TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in whole.wrap(line) or [""]]


def _silent(text: str, fraction: float | None = None) -> None:
    del text, fraction


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    right = [name.startswith(">") for name in columns]
    lines = [[name.lstrip(">").upper() for name in columns], *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ]
        print("  ".join(cells).rstrip())
    sys.stdout.flush()


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Lose nothing, however narrow the terminal is.

    Long cells are folded, and remarks that would be columns of single words stand below.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    below = _stands_below(widths, console.width)
    shown = columns[:-1] if below else columns
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, width in zip(shown, widths, strict=False):
        table.add_column(
            name.lstrip(">").upper(),
            justify="right" if name.startswith(">") else "left",
            no_wrap=width <= _SHORT,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row[: len(shown)]))
    console.print(table)
    for row in rows if below else ():
        if row[-1]:
            console.print(Text(f"{row[0]}: {row[-1]}"), soft_wrap=False)


_GAP = 2
_SHORT = 20
"""A cell of this width is never folded."""
_REMARK = 30
"""A remark that gets less than this stands below the table."""


def _stands_below(widths: Sequence[int], room: int) -> bool:
    left = room - sum(width + _GAP for width in widths[:-1])
    return widths[-1] > max(left, _SHORT) and left < _REMARK


_STYLES = {
    "running": "green",
    "ready": "green",
    "recorded": "green",
    "starting": "yellow",
    "stopping": "yellow",
    "preparing": "yellow",
    "building": "yellow",
    "in progress": "yellow",
    "backing-off": "red",
    "failed": "red",
    "stopped": "dim",
    "known": "dim",
}
"""Colours of states; everything else is plain."""


def _style(cell: str) -> str:
    """A state's colour, also of one with how far it is behind it."""
    state = cell.rpartition(" ")[0] if cell.endswith("%") else cell
    return _STYLES.get(state, "")


@contextmanager
def _rich_live(columns: Sequence[str]) -> Iterator[Callable[[Rows], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def drawn(rows: Rows) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for name in columns:
            table.add_column(name.upper(), overflow="fold")
        for row in rows:
            table.add_row(*(Text(harmless(cell)) for cell in row))
        return table

    with Live(drawn([]), console=Console(), auto_refresh=False) as view:
        yield lambda rows: view.update(drawn(rows), refresh=True)


@contextmanager
def _rich_progress(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    class Bar(BarColumn):
        def render(self, task: Any) -> Any:
            return super().render(task) if task.total is not None else ""

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        Bar(24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)

        def report(text: str, fraction: float | None = None) -> None:
            progress.update(
                task,
                description=harmless(f"{title}: {text}" if text else title),
                total=None if fraction is None else 1.0,
                completed=fraction or 0.0,
            )

        yield report


def _plain_progress(title: str) -> Report:
    """One line per change of text; where a fraction is known, only one per tenth of it."""
    last: list[tuple[str, int]] = [("", -1)]

    def report(text: str, fraction: float | None = None) -> None:
        tenth = -1 if fraction is None else int(fraction * 10)
        before, reached = last[0]
        if (tenth == reached if tenth >= 0 else text == before) or not text:
            return
        last[0] = (text, tenth)
        done = "" if fraction is None else f" ({fraction:.0%})"
        print(harmless(f"{title}: {text}{done}"), file=sys.stderr, flush=True)

    return report
