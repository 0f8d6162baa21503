"""Runs of critest at a CRI socket, and what became of every specification."""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_IMAGES = "defaultTestContainerImage: {0}busybox:1.29-2\nwebServerTestImage: {0}nginx:1.14-2\n"
_PREFIX = "registry.k8s.io/e2e-test-images/"
_FAMILY = "[k8s.io] "
_ATTEMPTS = 3
"""Some of its specifications give a container a fixed time that a loaded machine misses."""
_LIMIT_S = 600.0
HALVES = ("--ginkgo.focus-file=security_context", "--ginkgo.skip-file=security_context")
"""Of about the same length. Only the second one uses fixed ports of the host."""


@dataclass(frozen=True)
class Outcome:
    """Names of specifications, and what each failure said."""

    passed: frozenset[str]
    failed: dict[str, str]

    def __or__(self, other: "Outcome") -> "Outcome":
        return Outcome(self.passed | other.passed, self.failed | other.failed)


def run(critest: Path, socket: Path, half: str) -> Outcome:
    """One half of the suite at one socket."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dvc-") as place:
        images, report = Path(place) / "images.yaml", Path(place) / "report.json"
        images.write_text(_IMAGES.format(_PREFIX))
        command = [
            str(critest),
            f"--runtime-endpoint=unix://{socket}",
            f"--test-images-file={images}",
            f"--ginkgo.json-report={report}",
            f"--ginkgo.flake-attempts={_ATTEMPTS}",
            "--ginkgo.no-color",
            half,
        ]
        done = subprocess.run(
            command,
            cwd=place,
            env={**os.environ, "TMPDIR": place},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
        )
        if not report.exists():
            pytest.fail(f"critest gave no report:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        return outcome(json.loads(report.read_text()))


def outcome(report: list[dict[str, Any]]) -> Outcome:
    """From Ginkgo's JSON report. What it skipped is neither passed nor failed."""
    passed, failed = set(), {}
    for spec in report[0]["SpecReports"]:
        name = " ".join((*(spec["ContainerHierarchyTexts"] or ()), spec["LeafNodeText"]))
        name = name.removeprefix(_FAMILY).strip() or spec["LeafNodeType"]
        if spec["State"] == "passed" and spec["LeafNodeType"] == "It":
            passed.add(name)
        elif spec["State"] not in {"passed", "skipped", "pending"}:
            failed[name] = spec.get("Failure", {}).get("Message", "")[:500]
    return Outcome(frozenset(passed), failed)
