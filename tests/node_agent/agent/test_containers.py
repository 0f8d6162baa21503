"""Which cgroup freezes a container."""

from pathlib import Path

import pytest

from node_agent.agent.containers import freezer

V1 = "11:freezer:/k8s.io/abc\n4:cpu,cpuacct:/k8s.io/other\n0::/k8s.io/abc\n"


@pytest.mark.parametrize(
    ("text", "ends"),
    [(V1, "freezer/k8s.io/abc"), ("0::/k8s.io/abc\n", "k8s.io/abc")],
)
def test_freezer(text: str, ends: str) -> None:
    path = freezer(text)
    assert path is not None
    assert path.is_relative_to(Path("/sys/fs/cgroup"))
    assert str(path).endswith(ends)


def test_none() -> None:
    assert freezer("4:cpu,cpuacct:/x\n") is None
