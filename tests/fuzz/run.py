"""Fuzzes the parsers by coverage: `python -m tests.fuzz.run [--seconds N] [TARGET ...]`.

Needs atheris (`pip install atheris`; it is no dependency because nothing else uses it). Each target
runs in a process of its own; what it finds is printed, and kept in `build/fuzz/TARGET`.
"""

import argparse
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

_FOUND = Path("build/fuzz")


def main() -> int:
    """Run targets one after the other; 1 when one found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("This needs atheris: pip install atheris (Linux, CPython 3.11).", file=sys.stderr)
        return 2
    if options.inside:
        _fuzz(options.inside, options.seconds)
        return 0
    from tests.fuzz.targets import TARGETS

    failed = [name for name in options.targets or TARGETS if _start(name, options.seconds) != 0]
    print(f"found something: {', '.join(failed)}" if failed else "found nothing")
    return 1 if failed else 0


def _start(name: str, seconds: int) -> int:
    print(f"== {name}, {seconds} s", flush=True)
    words = [sys.executable, "-m", "tests.fuzz.run", "--inside", name, "--seconds", str(seconds)]
    return subprocess.run(words, check=False).returncode


def _fuzz(name: str, seconds: int) -> None:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["devbox", "gateway", "in_box_agent"]):
        from tests.fuzz.targets import TARGETS
    corpus = _FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=5", "-verbosity=0"]
    atheris.Setup(
        [name, *flags, "-print_final_stats=1", f"-artifact_prefix={corpus}/", str(corpus)],
        TARGETS[name].run,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
