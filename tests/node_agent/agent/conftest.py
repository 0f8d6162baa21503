import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.layout import Layout
from devbox.edge.registry import Registry
from devbox.model.projects import Image
from tests.support.node_parts import NodeParts, node_parts
from tests.support.saved_images import push_base


@pytest.fixture
def work() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="dvf-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def parts(work: Path) -> AsyncIterator[NodeParts]:
    layout = Layout(data=work / "data", run=work / "run")
    async with node_parts(layout, work) as made:
        yield made


@pytest.fixture
async def base(parts: NodeParts, work: Path) -> Image:
    tree = work / "base"
    tree.mkdir()
    (tree / "from-base").write_text("base")
    async with Registry(parts.registry.url) as registry:
        return await push_base(registry, "runtimes/plain", tree)
