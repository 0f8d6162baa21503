"""Fill the docs' generated diagrams from the tables they show.

    python deploy/diagrams.py [--check] FILE...

A line `<!-- generated: module.function -->` owns the ```mermaid block behind it.
"""

import importlib
import re
import sys
from pathlib import Path

_BLOCK = re.compile(
    r"(<!-- generated: (?P<module>[\w.]+)\.(?P<function>\w+) -->\n+)```mermaid\n.*?```\n", re.S
)


def filled(text: str) -> str:
    """The text with every block made anew."""

    def make(found: re.Match[str]) -> str:
        function = getattr(importlib.import_module(found["module"]), found["function"])
        return f"{found[1]}```mermaid\n{function().rstrip()}\n```\n"

    return _BLOCK.sub(make, text)


def main(arguments: list[str]) -> int:
    """Rewrite the files; with --check only say which are stale."""
    check = "--check" in arguments
    stale = []
    for path in map(Path, (one for one in arguments if one != "--check")):
        before = path.read_text()
        if (after := filled(before)) != before:
            stale.append(str(path))
            if not check:
                path.write_text(after)
    if check and stale:
        print(f"stale: {', '.join(stale)}. Run `make docs`.")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    sys.exit(main(sys.argv[1:]))
