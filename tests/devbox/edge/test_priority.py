"""Behind all others: beside the processes of its own session, and its session beside others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import os, threading
from devbox.edge.priority import as_all_others, group_nice, prefer

def told():
    number = threading.get_native_id()
    print(os.getpriority(os.PRIO_PROCESS, number), group_nice(os.getpid()))

prefer(7)
told()
with as_all_others():
    told()
told()
"""


@pytest.mark.root
@pytest.mark.parametrize(("leads", "group"), [(True, 7), (False, 0)])
def test_a_process_and_the_session_it_leads_stand_back(leads: bool, group: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not Path("/proc/self/autogroup").exists():
        group = 0
    # A session without other members, whose value nobody else sees change.
    starter = [] if leads else ["setsid", "sh", "-c", '"$0" "$@"; exit $?']
    done = subprocess.run(
        [*starter, sys.executable, "-c", _SCRIPT],
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"7 {group}", "0 0", f"7 {group}"]
