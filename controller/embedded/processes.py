"""Bounds how many processes a box may have.

CRI has no word for it, and a fork bomb in one box would take the machine from all others.
"""

from pathlib import Path

import structlog

from controller.embedded.pods import CGROUP_PARENT

_log = structlog.get_logger()
CGROUPS = Path("/sys/fs/cgroup")


def bound(container: str, most: int, cgroups: Path = CGROUPS) -> None:
    """Let a container that runs have at most so many processes and threads; 0: any number."""
    if not most:
        return
    below = f"{CGROUP_PARENT.lstrip('/')}/{container}/pids.max"
    for path in (cgroups / "pids" / below, cgroups / below):
        try:
            path.write_text(str(most))
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.warning("processes_not_bounded", container=container, error=str(error))
        return
    # One that ended at once has no cgroup any more.
    _log.info("no_cgroup_to_bound", container=container)
