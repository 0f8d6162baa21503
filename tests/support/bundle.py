"""The agent bundle, built once and kept between runs under a directory of caches."""

import os
from pathlib import Path

import pytest

from in_box_agent.bundle.build import build


def cache() -> Path:
    """Where tests keep what is slow to make. Named by inputs, so nothing in it gets stale."""
    return Path(os.environ.get("DEVBOX_TEST_CACHE", Path.home() / ".cache" / "devbox-tests"))


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The tree that boxes see at /.devbox. The builder's own lock serves parallel runs."""
    return build(cache() / "bundle", progress=lambda _: None)
