"""Fixtures that more than one package's tests use."""

pytest_plugins = ["tests.support.bundle", "tests.support.containerd", "tests.support.server"]
