"""What a built-in runtime is made of. One YAML file each, in `runtimes/`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from devbox.model.errors import BadInput, NotFound
from devbox.model.names import check_label
from devbox.model.projects import ImageConfig

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = "devbox"
BASE_PACKAGES = (
    "bash-completion",
    "ca-certificates",
    "curl",
    "git",
    "iproute2",
    "less",
    "openssh-client",
    "procps",
    "rsync",
    "sudo",
    "vim-tiny",
)
_FORM = 1
"""Raised when the builder makes other images of the same recipes."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A built-in runtime."""

    title: str
    packages: tuple[str, ...] = ()
    """Debian packages."""
    ports: tuple[int, ...] = ()
    env: dict[str, str] = {}
    user: str = USER
    working_dir: str = "/project"
    run_image_command: bool = False
    command: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    """Shell commands run in the tree once the packages are in."""
    files: dict[str, str] = {}
    """Absolute path -> text; scripts (`#!`) become executable."""

    @property
    def config(self) -> ImageConfig:
        """The image's config."""
        env = {"PATH": PATH, "LANG": "C.UTF-8", **self.env}
        return ImageConfig(
            cmd=self.command,
            env=tuple(f"{key}={value}" for key, value in env.items()),
            user=self.user,
            working_dir=self.working_dir,
        )

    def tag(self, sources: str) -> str:
        """Names what the recipe makes from these apt sources, as an OCI tag."""
        parts = (_FORM, BASE_PACKAGES, self, sources)
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def parse(name: str, text: str) -> Recipe:
    """One recipe. Raises BadInput that names the file and the field."""
    check_label(name, "runtime")
    try:
        return msgspec.convert(yaml.safe_load(text), Recipe)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadInput(f"runtimes/{name}.yaml: {error}") from error


def built_in() -> Mapping[str, Recipe]:
    """The recipes that ship with the product, by name."""
    package = Path(__file__).parent
    for directory in (package / "recipes", package.parent.parent / "runtimes"):
        if found := sorted(directory.glob("*.yaml")):
            return {path.stem: parse(path.stem, path.read_text()) for path in found}
    raise NotFound("the runtimes' recipes are missing", "Install devbox again.")
