"""What an editor asks the bridge for, and what the box has for it.

Knows of no process: the agent asks here before it starts one.
"""

import os
import shutil
from collections.abc import Mapping

import msgspec

from in_box_agent.lsp.languages import Program, find
from in_box_agent.lsp.places import Pair, Places


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an editor asks for: parameters of the service `lsp`."""

    language: str
    root: str = ""
    """The project's folder as the editor names it, a URI; empty when it browses the box."""


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a language server is started with: as a person's own process."""

    env: Mapping[str, str]
    directory: str
    home: str
    starter: str
    project: str
    """`PROJECT.NAMESPACE`."""


def programs(language: str, env: Mapping[str, str]) -> list[tuple[str, Program]]:
    """The servers that the box has. Raises NotFound."""
    return find(language, lambda name: shutil.which(name, path=env.get("PATH", os.defpath)))


def places(wish: Wish, around: Around) -> Places:
    """The editor's names. Outside its folder a file is named as one of the box.

    Raises BadInput when the root is not a folder's URI.
    """
    box: Pair = (f"devbox-fs://{around.project}", "file:///")
    own: list[Pair] = [(wish.root, f"file://{around.directory}")] if wish.root else []
    return Places([*own, box])
