"""What this machine knows of gateways: contexts in `config.toml`, tokens in `credentials.toml`.

Owns both files' forms. Knows no gateway and asks nobody.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from devbox.cli.files import PRIVATE, config_directory, locked, read_text, write_atomically
from devbox.model.errors import BadInput, NotFound
from devbox.model.names import check_label
from devbox.model.urls import split_url

if TYPE_CHECKING:
    from devbox.edge.layout import Layout

LOCAL = "local"
"""The context of a server on this machine; needs no entry."""

DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True)
class Context:
    """A gateway, as one person uses it. Holds no secret."""

    name: str
    url: str
    ca_file: str = ""
    """Certificate authorities to trust instead of the system's."""
    namespace: str = DEFAULT_NAMESPACE
    cluster: str = ""
    region: str = ""
    """With the cluster, the head of every address there; empty until the gateway told them."""


_FIELDS = ("url", "ca_file", "namespace", "cluster", "region")


@dataclass(frozen=True)
class Config:
    """`config.toml`."""

    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Self:
        """The file's contents. Raises BadInput that says where it is wrong."""
        path = config_directory() / "config.toml"
        table = _read_toml(path)
        contexts = {}
        for name, entry in _table(table, "contexts", path).items():
            if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
                raise BadInput(f"{path}: context {name!r} has no url", "Mend or remove it.")
            known = {key: str(entry[key]) for key in _FIELDS if key in entry}
            contexts[name] = Context(name, **known)
        return cls(str(table.get("current", "")), contexts)

    def write(self) -> None:
        """Replace the file."""
        lines = ["# Written by devbox; comments are not kept.\n"]
        if self.current:
            lines.append(f"current = {_string(self.current)}\n")
        for name, context in sorted(self.contexts.items()):
            lines.append(f"\n[contexts.{_string(name)}]\n")
            values = [(key, getattr(context, key)) for key in _FIELDS]
            lines += [f"{key} = {_string(value)}\n" for key, value in values if value]
        write_atomically(config_directory() / "config.toml", "".join(lines), PRIVATE)


@dataclass(frozen=True)
class Credentials:
    """`credentials.toml`, 0600: tokens by context, and by context and project."""

    users: Mapping[str, str] = field(default_factory=dict)
    projects: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Context -> `namespace/project` -> token."""

    @classmethod
    def read(cls) -> Self:
        """The file's contents. Raises BadInput that never repeats them."""
        path = config_directory() / "credentials.toml"
        table = _read_toml(path)
        users = {str(k): str(v) for k, v in _table(table, "users", path).items()}
        projects = {
            str(name): {str(k): str(v) for k, v in entry.items()}
            for name, entry in _table(table, "projects", path).items()
            if isinstance(entry, dict)
        }
        return cls(users, projects)

    def write(self) -> None:
        """Replace the file."""
        lines = ["# Secrets, written by devbox. Never share this file.\n", "\n[users]\n"]
        lines += [f"{_string(k)} = {_string(v)}\n" for k, v in sorted(self.users.items())]
        for context, tokens in sorted(self.projects.items()):
            if tokens:
                lines.append(f"\n[projects.{_string(context)}]\n")
                lines += [f"{_string(k)} = {_string(v)}\n" for k, v in sorted(tokens.items())]
        write_atomically(config_directory() / "credentials.toml", "".join(lines), PRIVATE)

    def project(self, context: str, place: str) -> str:
        """The token of `namespace/project`, or nothing."""
        return self.projects.get(context, {}).get(place, "")


def put_context(context: Context, user_token: str, *, use: bool) -> None:
    """Add or replace a context and its user token; an empty token leaves the one there is."""
    with locked(config_directory()):
        if user_token:
            known = Credentials.read()
            replace(known, users={**known.users, context.name: user_token}).write()
        config = Config.read()
        contexts = {**config.contexts, context.name: context}
        current = context.name if use or not config.current else config.current
        Config(current, contexts).write()


def use_context(name: str) -> None:
    """Make a context the current one. Raises NotFound."""
    with locked(config_directory()):
        config = Config.read()
        if name not in config.contexts and name != LOCAL:
            raise _no_context(name)
        replace(config, current=name).write()


def remove_context(name: str) -> None:
    """Forget a context and its tokens. Raises NotFound."""
    with locked(config_directory()):
        config = Config.read()
        if name not in config.contexts:
            raise _no_context(name)
        known = Credentials.read()
        users = {k: v for k, v in known.users.items() if k != name}
        projects = {k: v for k, v in known.projects.items() if k != name}
        Credentials(users, projects).write()
        contexts = {k: v for k, v in config.contexts.items() if k != name}
        Config("" if config.current == name else config.current, contexts).write()


def keep_project_token(context: str, place: str, token: str) -> None:
    """Keep a project's token; an empty one forgets it."""
    with locked(config_directory()):
        known = Credentials.read()
        tokens = dict(known.projects.get(context, {}))
        if tokens.get(place, "") == token:
            return
        tokens[place] = token
        kept = {k: v for k, v in tokens.items() if v}
        replace(known, projects={**known.projects, context: kept}).write()


@dataclass(frozen=True)
class LocalServer:
    """A server on this machine, as far as this user may see it."""

    context: Context
    token: str = ""
    """The admin's; empty when this user may not read it."""


def layout_here() -> "Layout":
    """Where this machine's embedded server lies: below `$DEVBOX_ROOT`, or in the usual places."""
    from devbox.edge.layout import layout_below

    return layout_below(os.environ.get("DEVBOX_ROOT", ""))


def local_server() -> LocalServer | None:
    """The embedded server of this machine, if one was ever set up."""
    from devbox.edge.layout import read_settings

    layout = layout_here()
    try:
        token = (layout.keys / "admin-token").read_text().strip()
    except PermissionError:
        token = ""
    except OSError:
        return None
    try:
        settings = read_settings(layout)
    except PermissionError:
        return None
    context = Context(
        LOCAL,
        settings.gateway_url,
        settings.tls_cert,
        cluster=settings.cluster,
        region=settings.region,
    )
    return LocalServer(context, token)


def choose(name: str) -> tuple[Context, str]:
    """The context to use and its user token, which may be empty.

    `name` is what was asked for; empty means the current one, and without one the server of this
    machine. Raises NotFound for an unknown name, BadInput when there is nothing to use.
    """
    config = Config.read()
    wanted = name or config.current
    if wanted in config.contexts:
        return config.contexts[wanted], Credentials.read().users.get(wanted, "")
    if wanted not in {"", LOCAL}:
        raise _no_context(wanted)
    if not wanted and len(config.contexts) == 1:
        (only,) = config.contexts.values()
        return only, Credentials.read().users.get(only.name, "")
    server = local_server()
    if server is None:
        raise BadInput(
            "no gateway is known here",
            "`devbox login URL` uses one; `devbox server up` starts one on this machine.",
        )
    return server.context, server.token or Credentials.read().users.get(LOCAL, "")


def check_gateway_url(text: str) -> str:
    """A gateway's URL in its one form, `http(s)://host[:port]`. Raises BadInput."""
    url = split_url(text if "://" in text else f"https://{text}")
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    if scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
        raise BadInput(f"{text!r} is no gateway's URL", "It looks like https://devbox.example.com")
    if url.path not in {"", "/"}:
        raise BadInput("a gateway's URL has no path", "Give https://host, not a project's address.")
    return f"{scheme}://{url.netloc}"


def check_context_name(text: str) -> str:
    """Return `text` if a context may be called so. Raises BadInput."""
    return check_label(text, "context")


def _no_context(name: str) -> NotFound:
    return NotFound(f"there is no context {name!r}", "`devbox context list` shows those there are.")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        where = str(error).rpartition("(")[2].rstrip(")")
        raise BadInput(f"{path} is not TOML ({where})", "Mend the file and try again.") from error


def _table(table: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {name} is not a table", "Mend the file and try again.")
    return value


def _string(text: str) -> str:
    """A TOML basic string: JSON's form, but DEL must be escaped too (TOML 1.0, strings)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def home_relative(path: Path) -> str:
    """A path as people like to read it."""
    home = os.path.expanduser("~")
    return f"~{str(path)[len(home) :]}" if str(path).startswith(f"{home}/") else str(path)
