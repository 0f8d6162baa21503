"""`devbox server gc`: sweeps the registry's storage beside a running server, or without one."""

import time
from pathlib import Path

from node_agent.collector.storage import Ages, Storage, Swept


def collect(directory: Path, ages: Ages | None = None) -> Swept:
    """Two sweeps with the grace between them; what was deleted by either."""
    if not directory.is_dir():
        return Swept()
    ages = ages or Ages()
    storage = Storage(directory, ages)
    first = storage.sweep()
    if not first.aside:
        return first
    time.sleep(ages.grace_s)
    second = storage.sweep()
    return Swept(
        aside=second.aside,
        put_back=first.put_back + second.put_back,
        deleted=first.deleted + second.deleted,
        freed_bytes=first.freed_bytes + second.freed_bytes,
        uploads=first.uploads + second.uploads,
    )
