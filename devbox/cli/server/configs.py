"""What containerd and the registry are told. Pure: settings in, text out."""

from collections.abc import Iterator
from pathlib import Path

from devbox.edge.layout import Layout, ServerSettings

PAUSE_REPOSITORY = "devbox/pause"
PAUSE_TAG = "1"

_CONTAINERD = """\
version = 2
root = "{root}"
state = "{state}"
oom_score = 0

[grpc]
  address = "{socket}"

[ttrpc]
  address = "{socket}.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Root without CAP_SYS_RESOURCE may not lower a score.
  restrict_oom_score_adj = true
  # What an image declares as VOLUME lies in the upper like all else.
  ignore_image_defined_volumes = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{certs}"
"""

_HOSTS = """\
server = "http://{host}"

[host."http://{host}"]
  capabilities = ["pull", "resolve"]
"""

_REGISTRY = """\
version: 0.1
log:
  level: warn
  formatter: json
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {directory}
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: true
      age: 168h
      interval: 24h
      dryrun: false
http:
  addr: {host}
  secret: {secret}
"""


def containerd_config(layout: Layout, settings: ServerSettings) -> str:
    """config.toml of our own containerd."""
    return _CONTAINERD.format(
        root=layout.containerd_root,
        state=layout.containerd_state,
        socket=layout.containerd_socket,
        pause=f"{settings.registry_host}/{PAUSE_REPOSITORY}:{PAUSE_TAG}",
        cni=layout.run / "cni" / "net.d",
        certs=layout.run / "certs.d",
    )


def registry_config(layout: Layout, settings: ServerSettings, secret: str) -> str:
    """config.yml of docker-registry. `secret` signs upload sessions."""
    return _REGISTRY.format(directory=layout.registry, host=settings.registry_host, secret=secret)


def files(layout: Layout, settings: ServerSettings, secret: str) -> Iterator[tuple[Path, str]]:
    """Every file to be written, with its text. All of mode 0600."""
    yield layout.run / "containerd.toml", containerd_config(layout, settings)
    yield layout.run / "registry.yml", registry_config(layout, settings, secret)
    hosts = layout.run / "certs.d" / settings.registry_host / "hosts.toml"
    yield hosts, _HOSTS.format(host=settings.registry_host)
