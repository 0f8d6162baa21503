"""`python -m in_box_agent.bundle --out DIR`: build what is not built yet, print where it lies."""

import argparse
import sys
from pathlib import Path

from devbox.model.errors import DevboxError
from in_box_agent.bundle.build import build


def main() -> int:
    """Build, with progress on stderr. The exit status is the error's."""
    parser = argparse.ArgumentParser(prog="python -m in_box_agent.bundle", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="holds <hash>/ and current")
    parser.add_argument(
        "--prune", action="store_true", help="delete older trees that no box has mounted"
    )
    arguments = parser.parse_args()
    try:
        tree = build(
            arguments.out,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
            alone=arguments.prune,
        )
    except DevboxError as error:
        print(f"{error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return error.exit_code
    print(tree)
    return 0


if __name__ == "__main__":
    sys.exit(main())
