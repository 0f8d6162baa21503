"""What a project may ask for. Pure."""

import math
import re

from devbox.model.errors import BadInput
from devbox.model.projects import ProjectSpec

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIN_MEMORY = 16 << 20
_MIN_DISK = 16 << 20
_PORTS = range(1, 65536)


def check_spec(spec: ProjectSpec) -> None:
    """Raise BadInput that names what is wrong."""
    cpus, memory = spec.resources.cpus, spec.resources.memory_bytes
    if not (math.isfinite(cpus) and (cpus == 0 or 0.01 <= cpus <= 4096)):
        raise BadInput(f"cpus {cpus} is out of range", "Use 0 for no bound, or 0.01 and more.")
    if memory != 0 and memory < _MIN_MEMORY:
        raise BadInput(
            f"memory of {memory} bytes is too little", "Use 0 for no bound, or 16 MiB and more."
        )
    if spec.resources.disk_bytes != 0 and spec.resources.disk_bytes < _MIN_DISK:
        raise BadInput(
            f"a quota of {spec.resources.disk_bytes} bytes is too little",
            "Use 0 for the server's default, or 16 MiB and more.",
        )
    for port in spec.ports:
        if port.port not in _PORTS:
            raise BadInput(f"port {port.port} is out of range", "A port is 1 to 65535.")
    if not 0 <= spec.autosave_minutes <= 60 * 24 * 7:
        raise BadInput("autosave is out of range", "Use 0 for off, or up to a week of minutes.")
    for name, value in spec.env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise BadInput(
                f"{name!r} is not a valid environment variable",
                "Use letters, digits and '_'; no NUL in the value.",
            )
