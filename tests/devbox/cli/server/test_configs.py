"""What containerd and the registry are told."""

import tomllib
from pathlib import Path

import pytest
import yaml

from devbox.cli.server import configs
from devbox.edge.layout import Layout, ServerSettings

LAYOUT = Layout(data=Path("/d"), run=Path("/r"))
SETTINGS = ServerSettings(registry_port=5005)


@pytest.mark.smoke
def test_containerd_is_our_own() -> None:
    told = tomllib.loads(configs.containerd_config(LAYOUT, SETTINGS))
    assert (told["root"], told["state"]) == ("/d/containerd", "/r/containerd")
    assert told["grpc"]["address"] == "/r/containerd.sock"
    cri = told["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "127.0.0.1:5005/devbox/pause:1"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["ignore_image_defined_volumes"] is True


def test_the_registry_listens_on_loopback_and_deletes() -> None:
    told = yaml.safe_load(configs.registry_config(LAYOUT, SETTINGS, "s" * 32))
    assert told["http"]["addr"] == "127.0.0.1:5005"
    assert told["storage"]["delete"]["enabled"] is True
    assert told["storage"]["filesystem"]["rootdirectory"] == "/d/registry"


def test_every_file_has_its_place() -> None:
    made = dict(configs.files(LAYOUT, SETTINGS, "s"))
    assert set(made) == {
        Path("/r/containerd.toml"),
        Path("/r/registry.yml"),
        Path("/r/certs.d/127.0.0.1:5005/hosts.toml"),
    }
    hosts = tomllib.loads(made[Path("/r/certs.d/127.0.0.1:5005/hosts.toml")])
    assert hosts["host"]["http://127.0.0.1:5005"]["capabilities"] == ["pull", "resolve"]
