"""Places where a test may end a process, as a power cut would.

A step's name is passed to a `Fault` right after the step. Knows none of the steps.
"""

import os
import signal
from collections.abc import Callable

Fault = Callable[[str], None]
"""Called with the name of each step."""


def no_fault(step: str) -> None:
    """Lets every step go on."""


def die_at(name: str) -> Fault:
    """Kill this process after the step of that name; never, for an empty one."""

    def fault(step: str) -> None:
        if step == name:
            os.kill(os.getpid(), signal.SIGKILL)

    return fault
