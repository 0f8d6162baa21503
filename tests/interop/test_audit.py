"""What ssh-audit says of the algorithms that the agent offers to a client it does not know."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.client import PATIENCE_S, Way

pytestmark = pytest.mark.root
_PROGRAM = Path(sys.executable).with_name("ssh-audit")


def test_ssh_audit_finds_no_fault(way: Way) -> None:
    command = [str(_PROGRAM), "--json", "--skip-rate-test", "-p", str(way.port), "127.0.0.1"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S)
    report: dict[str, Any] = json.loads(done.stdout)
    offered = [one for kind in ("kex", "key", "enc", "mac") for one in report[kind]]
    assert {"ssh-ed25519", "curve25519-sha256", "aes128-gcm@openssh.com"} <= {
        one["algorithm"] for one in offered
    }
    found = {one["algorithm"]: one["notes"] for one in offered}
    assert {name: notes["fail"] for name, notes in found.items() if "fail" in notes} == {}
    assert report["cves"] == []
    assert done.returncode in (0, _WARNINGS), done


_WARNINGS = 2
"""Its exit status when it has something to warn of but nothing failed."""
