"""The builder on a real registry: recipes become images, other people's images are pulled."""

import io
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devbox.edge.registry import Registry
from devbox.model.errors import BadInput, NotFound
from devbox.model.nodes import BuildOrder
from devbox.model.runtimes import RuntimeState
from node_agent.runtimes import builder as room
from node_agent.runtimes.builder import Builder
from node_agent.runtimes.recipes import Recipe
from node_agent.runtimes.trees import base_name
from node_agent.saver import Saver
from tests.support import images
from tests.support.registry import RegistryServer, running_registry
from tests.support.saved_images import layers

pytestmark = pytest.mark.root
TINY = Recipe(
    title="Tiny",
    files={"/bin/hello": "#!/bin/sh\necho hello\n"},
    env={"GREETING": "hello"},
    ports=(80,),
    command=("/bin/hello",),
    run_image_command=True,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with running_registry(tmp_path) as server:
        yield server


@pytest.fixture
async def registry(server: RegistryServer) -> AsyncIterator[Registry]:
    async with Registry(server.url) as registry:
        yield registry


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """A directory in which the Debian tree is there already: only busybox."""
    tree = tmp_path / "builds" / base_name()
    for name in ("bin", "proc", "dev", "etc", "var", "usr"):
        (tree / name).mkdir(parents=True)
    shutil.copy(images.BUSYBOX, tree / "bin/busybox")
    for name in ("sh", "rm", "chmod"):
        (tree / "bin" / name).symlink_to("busybox")
    return tree.parent


@pytest.fixture
async def builder(
    registry: Registry, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Builder]:
    monkeypatch.setattr(room, "built_in", lambda: {"tiny": TINY, "plain": Recipe(title="Plain")})
    async with Saver(registry) as saver:
        yield Builder(registry, saver, builds)


def order(name: str, source: str = "built-in", attempt: int = 1) -> BuildOrder:
    return BuildOrder(name=name, source=source, attempt=attempt)


def silent(part: float, what: str) -> None:
    del part, what


async def test_a_recipe_becomes_an_image(builder: Builder, registry: Registry) -> None:
    assert [one.state for one in await builder.known()] == [RuntimeState.KNOWN] * 2
    told: list[tuple[float, str]] = []
    built = await builder.build(order("tiny"), lambda *step: told.append(step))
    assert (built.state, built.ports, built.run_image_command) == (RuntimeState.READY, (80,), True)
    assert built.image is not None
    assert built.image.repository == "runtimes/tiny"
    assert built.image.config.cmd == ("/bin/hello",)
    assert "GREETING=hello" in built.image.config.env
    assert (built.image.config.user, built.image.config.working_dir) == ("devbox", "/project")
    base, own = await layers(registry, built.image)
    # The build's own mounts leave nothing but the time of the directory that they were in.
    assert names(own) == {"bin", "bin/hello", "etc"}
    assert {"bin/busybox", "bin/sh", "usr"} <= names(base)
    assert [part for part, _ in told] == sorted(part for part, _ in told)
    assert told[-1] == (1.0, "ready")
    known, _ = await builder.known()
    assert known == built


def names(layer: bytes) -> set[str]:
    """What a layer holds."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return {name.removeprefix("./").rstrip("/") for name in tar.getnames()} - {".", ""}


async def test_what_is_there_is_not_built_again(builder: Builder, builds: Path) -> None:
    built = await builder.build(order("tiny"), silent)
    shutil.rmtree(builds)
    assert await builder.build(order("tiny"), silent) == built


async def test_runtimes_share_their_base(builder: Builder, registry: Registry) -> None:
    tiny = await builder.build(order("tiny"), silent)
    told: list[str] = []
    plain = await builder.build(order("plain"), lambda _, what: told.append(what))
    assert "writing the Debian base" not in told
    assert tiny.image is not None
    assert plain.image is not None
    (base,) = await layers(registry, plain.image)
    assert base == (await layers(registry, tiny.image))[0]


async def test_a_base_that_the_registry_lost_is_written_again(
    builder: Builder, registry: Registry, builds: Path
) -> None:
    first = await builder.build(order("plain"), silent)
    for tag in await registry.tags("runtimes/debian"):
        if digest := await registry.manifest_digest("runtimes/debian", tag):
            await registry.delete_manifest("runtimes/debian", digest)
    told: list[str] = []
    again = await builder.build(order("plain", attempt=2), lambda _, what: told.append(what))
    assert "writing the Debian base" in told
    assert again.image == first.image
    assert [path.suffix for path in sorted(builds.iterdir())] == ["", ".image"]


async def test_an_unknown_name(builder: Builder) -> None:
    with pytest.raises(NotFound, match="no built-in runtime other") as raised:
        await builder.build(order("other"), silent)
    assert "tiny" in raised.value.hint


async def test_a_pulled_image_keeps_its_files_and_loses_its_volumes(
    builder: Builder, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "far").mkdir()
    config = {"Volumes": {"/data": {}}, "User": "7", "Cmd": ["/bin/sh"]}
    with running_registry(tmp_path / "far") as far:
        images.push(images.build([images.busybox_layer()], config), far.url, "team/tool", "3")
        told: list[float] = []
        built = await builder.build(
            order("tool", f"{far.host}/team/tool:3"), lambda part, _: told.append(part)
        )
    assert built.image is not None
    assert built.image.repository == "runtimes/tool"
    assert (built.image.architecture, built.image.config.user) == ("amd64", "7")
    _, document = await registry.image("runtimes/tool", built.image.digest)
    assert "Volumes" not in document.config["config"]
    assert told[-1] == 1.0
    (layer,) = await layers(registry, built.image)
    assert "bin/busybox" in names(layer)


async def test_an_image_for_another_machine_is_refused(
    builder: Builder, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "architecture", lambda: "arm64")
    (tmp_path / "far").mkdir()
    with running_registry(tmp_path / "far") as far:
        images.push(images.build([images.busybox_layer()]), far.url, "team/tool", "3")
        with pytest.raises(BadInput, match="arm64"):
            await builder.build(order("tool", f"{far.host}/team/tool:3"), silent)
    assert await registry.tags("runtimes/tool") == ()
