"""Builds and pulls runtimes into the registry: the edge between recipes, trees and images."""

import asyncio
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from devbox.edge.registry import Registry
from devbox.edge.registry.documents import CONFIG, MANIFEST, ImageDocument
from devbox.edge.registry.images import MadeImage, assemble, model_image, scratch
from devbox.edge.registry.images import without_volumes as strip_volumes
from devbox.edge.registry.pull import Puller
from devbox.edge.registry.references import Reference
from devbox.model.errors import BadInput, NotFound
from devbox.model.nodes import BuildOrder
from devbox.model.projects import Image, ImageConfig
from devbox.model.runtimes import Runtime, RuntimeState
from devbox.model.saves import Compression
from node_agent.runtimes.recipes import Recipe, built_in
from node_agent.runtimes.trees import base_tree, changed_tree, sources
from node_agent.saver import Saver, UpperSave

BUILT_IN = "built-in"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_BASE_REPOSITORY = "runtimes/debian"
_PULLED_TAG = "pulled"

Told = Callable[[float, str], None]


def architecture() -> str:
    """This machine's, as OCI names it. Raises BadInput for one that we do not know."""
    machine = platform.machine()
    try:
        return _ARCHITECTURES[machine]
    except KeyError as error:
        raise BadInput(f"{machine} machines cannot run boxes", "Use amd64 or arm64.") from error


class Builder:
    """Makes runtimes, one at a time: a build keeps the machine busy enough."""

    def __init__(
        self,
        registry: Registry,
        saver: Saver,
        directory: Path,
        compression: Compression = Compression.ZSTD,
    ) -> None:
        self._compression = compression
        self._registry = registry
        self._saver = saver
        self._directory = directory
        self._recipes = built_in()
        self._one = asyncio.Lock()

    async def known(self) -> list[Runtime]:
        """The built-in runtimes, READY where the registry has what the recipe makes."""
        return [await self._known(name, recipe) for name, recipe in self._recipes.items()]

    async def _known(self, name: str, recipe: Recipe) -> Runtime:
        repository, tag = f"runtimes/{name}", self._tag(recipe)
        digest = await self._registry.manifest_digest(repository, tag)
        if digest is None:
            return _runtime(name, recipe)
        _, document = await self._registry.image(repository, digest)
        return _ready(_runtime(name, recipe), model_image(repository, digest, document))

    def _tag(self, recipe: Recipe) -> str:
        """Names what the recipe makes here."""
        return self._named(recipe.tag(sources()))

    def _named(self, name: str) -> str:
        """Of the same files packed in another way."""
        zstd = self._compression is Compression.ZSTD
        return name if zstd else f"{name}-{self._compression}"

    async def build(self, order: BuildOrder, progress: Told) -> Runtime:
        """Build a built-in runtime, or pull an image. Raises DevboxError."""
        async with self._one:
            if order.source != BUILT_IN:
                return await self._pull(order, progress)
            recipe = self._recipes.get(order.name)
            if recipe is None:
                raise NotFound(
                    f"there is no built-in runtime {order.name}",
                    f"There are {', '.join(self._recipes)}.",
                )
            known = await self._known(order.name, recipe)
            if known.state is RuntimeState.READY and order.attempt <= 1:
                return known
            return await self._build(order.name, recipe, progress)

    async def _build(self, name: str, recipe: Recipe, told: Told) -> Runtime:
        tree = await base_tree(self._directory, told)
        made = await self._base(tree, told)
        if recipe.packages or recipe.files or recipe.prepare:
            told(0.3, f"installing {recipe.title}")
            async with changed_tree(tree, recipe, told) as upper:
                told(0.87, "writing the image")
                made = await self._layer(upper, made, f"runtimes/{name}")
        repository = f"runtimes/{name}"
        if made.repository != repository:
            made = await self._saver.copy_image(made, repository)
        _, document = await self._registry.image(made.repository, made.digest)
        image = await self._put(
            repository, _with_config(document, recipe.config), self._tag(recipe)
        )
        told(1.0, "ready")
        return _ready(_runtime(name, recipe), image)

    async def _base(self, tree: Path, told: Told) -> Image:
        """The tree as an image; written once, for its layer is the same in every runtime."""
        known = tree.with_suffix(self._named(".image"))
        try:
            image = msgspec.json.decode(known.read_bytes(), type=Image)
            if await self._registry.manifest_digest(image.repository, image.digest) is not None:
                return image
        except (FileNotFoundError, msgspec.MsgspecError):
            pass
        told(0.2, "writing the Debian base")
        image = await self._layer(tree, await self._scratch(), _BASE_REPOSITORY)
        # A tag keeps the registry from collecting what no runtime names yet.
        await self._saver.copy_image(image, _BASE_REPOSITORY, self._named(tree.name))
        known.write_bytes(msgspec.json.encode(image))
        return image

    async def _scratch(self) -> Image:
        document = scratch(architecture(), ImageConfig())
        return await self._put(_BASE_REPOSITORY, assemble(document.config, (), {}), "scratch")

    async def _layer(self, tree: Path, base: Image, repository: str) -> Image:
        with tempfile.TemporaryDirectory(dir=self._directory) as scrap:
            saved = await self._saver.save(
                UpperSave(
                    project_uid=repository,
                    seq=1,
                    upper=str(tree),
                    base=base,
                    index=str(Path(scrap) / "index"),
                    repository=repository,
                    full=True,
                    compression=self._compression,
                )
            )
        return saved.image

    async def _pull(self, order: BuildOrder, told: Told) -> Runtime:
        reference = Reference.parse(order.source)
        repository = f"runtimes/{order.name}"

        async def progress(done: int, total: int) -> None:
            told(done / total if total else 0.0, "pulling")

        copied = await Puller(self._registry).pull(
            reference, repository, architecture(), progress=progress
        )
        image = await self._put(repository, strip_volumes(copied.document), _PULLED_TAG)
        runtime = Runtime(name=order.name, source=order.source, title=order.source)
        return _ready(runtime, image)

    async def _put(self, repository: str, made: MadeImage, tag: str) -> Image:
        await self._registry.put_blob(repository, made.config, CONFIG)
        await self._registry.put_manifest(repository, made.manifest, MANIFEST, tag)
        return model_image(repository, made.digest, made.document)


def _with_config(document: ImageDocument, config: ImageConfig) -> MadeImage:
    """The same layers with another config, and all of them the runtime's."""
    body = scratch(str(document.config["architecture"]), config).config
    body |= {key: document.config[key] for key in ("rootfs", "history")}
    return assemble(body, document.manifest.layers, {})


def _runtime(name: str, recipe: Recipe) -> Runtime:
    return Runtime(
        name=name,
        source=BUILT_IN,
        title=recipe.title,
        ports=recipe.ports,
        run_image_command=recipe.run_image_command,
    )


def _ready(runtime: Runtime, image: Image) -> Runtime:
    return msgspec.structs.replace(
        runtime, state=RuntimeState.READY, progress=1.0, message="", image=image
    )
