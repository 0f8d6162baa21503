"""The images that critest runs and pulls, made here and pushed to a registry of the tests.

Paths and tags are critest's own; containerd asks this registry for every one of them, whatever
the host in its name is.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.images import BUSYBOX, ImageParts, Layer, build, busybox_layer, push

_STAGING = "k8s-staging-cri-tools"
_E2E = "e2e-test-images"
_SERVER = """#!/bin/sh
# The name and the second word are what critest looks for in a web server's first process.
busybox httpd -p {port} -h /www
mkdir -p /var/run; echo $$ > /var/run/nginx.pid; echo {says}
trap 'exit 0' TERM QUIT
while :; do sleep 1; done
"""
_PGREP = b"#!/bin/sh\nfor pid in $(pidof $1); do [ $pid = 1 ] || echo $pid; done\n"
"""Leaves out the pod's first process: in our tests a pause container sleeps."""
_IPCS = b"#!/bin/sh\ncat /proc/sysvipc/shm\n"
_ESCALATE = """
#include <stdio.h>
#include <unistd.h>
int main(void) { printf("Effective uid: %u\\n", geteuid()); return 0; }
"""


def push_images(registry_url: str) -> None:
    """Put all of them there."""
    base = full_busybox()
    busybox = build([base], {"Cmd": ["sh"]})
    push(busybox, registry_url, f"{_E2E}/busybox", "1.29-2")
    for repository, tag, image in (*_servers(base), *_users(base), *_named(base)):
        push(image, registry_url, repository, tag)
    push(_nonewprivs(base), registry_url, f"{_E2E}/nonewprivs", "1.3")


def full_busybox() -> Layer:
    """With every applet, two programs that are none, and users such as images have."""
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    names = set(listed.stdout.split()) - {"busybox"}
    plain = busybox_layer()
    users = b"root:x:0:0:root:/root:/bin/sh\n" + b"".join(
        b"%s:x:%d:%d::/:/bin/sh\n" % (name, number, number)
        for name, number in ((b"www-data", 33), (b"default-user", 1000), (b"nobody", 65534))
    )
    groups = b"www-data:x:33:\ngroup-defined-in-image:x:50000:default-user\n"
    files = {
        **plain.files,
        "bin/pgrep": _PGREP,
        "bin/ipcs": _IPCS,
        "etc/passwd": users,
        "etc/group": b"root:x:0:\ndefault-user:x:1000:\n" + groups,
    }
    return replace(plain, files=files, links={f"bin/{name}": "busybox" for name in names})


Named = tuple[str, str, ImageParts]


def _servers(base: Layer) -> list[Named]:
    def server(name: str, port: int, words: list[str], says: str = "ready") -> ImageParts:
        script = _SERVER.format(port=port, says=says).encode()
        files = {f"bin/{name}": script, "www/index.html": b"<h1>Welcome</h1>\n"}
        return build([base, Layer(files=files)], {"Cmd": [f"/bin/{name}", *words]})

    nginx = ["master process"]
    return [
        (f"{_E2E}/nginx", "1.14-2", server("nginx", 80, nginx)),
        (f"{_E2E}/httpd", "2.4.39-4", server("httpd", 80, [], "httpd -D FOREGROUND")),
        (f"{_STAGING}/hostnet-nginx-amd64", "latest", server("nginx", 12003, nginx)),
    ]


def _users(base: Layer) -> list[Named]:
    users = {
        "user-uid": "1002",
        "user-username": "www-data",
        "user-uid-group": "1003:users",
        "user-username-group": "www-data:100",
        "predefined-group": "1000",
    }
    return [
        (f"{_STAGING}/test-image-{name}", "latest", _distinct(base, name, {"User": user}))
        for name, user in users.items()
    ]


def _named(base: Layer) -> list[Named]:
    """Images that are only pulled, listed and removed."""
    single = {"latest": "latest", "tag": "test", "1": "latest", "2": "latest", "3": "latest"}
    one = _distinct(base, "tags", {})
    return [
        *(
            (f"{_STAGING}/test-image-{name}", tag, _distinct(base, name, {}))
            for name, tag in single.items()
        ),
        (f"{_STAGING}/test-image-tag", "all", _distinct(base, "all", {})),
        *((f"{_STAGING}/test-image-tags", tag, one) for tag in ("1", "2", "3")),
    ]


def _distinct(base: Layer, name: str, config: Mapping[str, Any]) -> ImageParts:
    return build([base, Layer(files={f"base/{name}": name.encode()})], config)


def _nonewprivs(base: Layer) -> ImageParts:
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(place) / "nnp.c", Path(place) / "nnp"
        source.write_text(_ESCALATE)
        command = ["gcc", "-static", "-Os", "-s", "-o", str(program), str(source)]
        subprocess.run(command, check=True)
        layer = Layer(files={"nnp": program.read_bytes()}, modes={"nnp": 0o4755})
    return build([base, layer], {"Cmd": ["/nnp"]})
