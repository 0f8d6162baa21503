"""The servers of a conversation: which of them can do what, and the names that they give to things.

Pure. Capabilities come with `initialize` and by `client/registerCapability` (LSP 3.17).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, UnsetType

from in_box_agent.lsp.envelope import raw
from in_box_agent.lsp.features import MERGES, PROVIDERS, capabilities

_TOKENS = 10_000


class Fleet:
    """By number; the first one counts where only one can answer."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.alive: tuple[int, ...] = tuple(range(len(names)))
        self._can: dict[int, dict[str, Any]] = {}
        self._registered: dict[tuple[int, str], str] = {}
        self._tokens: dict[str, tuple[int, int | str]] = {}

    def lost(self, server: int) -> None:
        """A server is gone."""
        self.alive = tuple(one for one in self.alive if one != server)
        self._can.pop(server, None)
        self._registered = {key: one for key, one in self._registered.items() if key[0] != server}

    # -- who answers ----------------------------------------------------------------------------

    def who(self, method: str, params: Raw | UnsetType) -> tuple[int, ...]:
        """The servers to ask."""
        if method == "workspace/executeCommand":
            return self._who_runs(params)
        if method not in PROVIDERS:
            return self.alive
        able = tuple(server for server in self.alive if self._is_able(server, method))
        return able if method in MERGES else able[:1]

    def _is_able(self, server: int, method: str) -> bool:
        provider = self._can.get(server, {}).get(PROVIDERS[method])
        if provider is not None and provider is not False:
            return True
        return any(
            asked == server and PROVIDERS.get(name) == PROVIDERS[method]
            for (asked, _), name in self._registered.items()
        )

    def _who_runs(self, params: Raw | UnsetType) -> tuple[int, ...]:
        command = None if isinstance(params, UnsetType) else msgspec.json.decode(params)["command"]
        for server in self.alive:
            provider = self._can.get(server, {}).get("executeCommandProvider") or {}
            if command in provider.get("commands", ()):
                return (server,)
        return self.alive[:1]

    # -- initialize -----------------------------------------------------------------------------

    def introduction(self, params: Raw | UnsetType) -> Raw | UnsetType:
        """The editor's `initialize` for the servers: its process is on another machine."""
        if isinstance(params, UnsetType):
            return params
        value = msgspec.json.decode(params)
        value["processId"] = None
        general = value.get("capabilities", {}).get("general", {})
        if len(self._names) > 1 and "positionEncodings" in general:
            general["positionEncodings"] = ["utf-16"]
        return raw(value)

    def introduced(self, answers: Mapping[int, Raw]) -> Raw:
        """One answer to `initialize` for all."""
        each = {server: msgspec.json.decode(one) for server, one in sorted(answers.items())}
        self._can = {server: one.get("capabilities", {}) for server, one in each.items()}
        self.alive = tuple(each)
        names = "+".join(self._names[server] for server in each)
        return raw(
            {
                "capabilities": capabilities(list(self._can.values())),
                "serverInfo": {"name": f"devbox ({names})"},
            }
        )

    # -- names ----------------------------------------------------------------------------------

    def asks(self, server: int, method: str, params: Raw | UnsetType) -> Raw | UnsetType:
        """A server's request for the editor: names that others may use too are made its own."""
        if isinstance(params, UnsetType):
            return params
        if method == "client/registerCapability":
            return self._register(server, msgspec.json.decode(params))
        if method == "client/unregisterCapability":
            return self._unregister(server, msgspec.json.decode(params))
        if method == "window/workDoneProgress/create":
            return raw({"token": self._token(server, msgspec.json.decode(params)["token"])})
        return params

    def _register(self, server: int, value: dict[str, Any]) -> Raw:
        for one in value["registrations"]:
            self._registered[server, one["id"]] = one["method"]
            one["id"] = f"{server}:{one['id']}"
        return raw(value)

    def _unregister(self, server: int, value: dict[str, Any]) -> Raw:
        for one in value["unregisterations"]:  # LSP's own spelling
            self._registered.pop((server, one["id"]), None)
            one["id"] = f"{server}:{one['id']}"
        return raw(value)

    def _token(self, server: int, token: int | str) -> str:
        own = f"{server}:{token}"
        while len(self._tokens) >= _TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[own] = (server, token)
        return own

    def progress(self, server: int, params: Raw | UnsetType) -> Raw | UnsetType:
        """A server's `$/progress`, under the token that the editor knows."""
        if isinstance(params, UnsetType):
            return params
        value = msgspec.json.decode(params)
        own = f"{server}:{value.get('token')}"
        if own not in self._tokens:
            return params
        if isinstance(value.get("value"), dict) and value["value"].get("kind") == "end":
            del self._tokens[own]
        return raw({**value, "token": own})

    def progress_of(self, token: Any) -> tuple[int, int | str]:
        """Whose a token of the editor's is, and what that server calls it."""
        return self._tokens.get(str(token), (self.alive[0] if self.alive else 0, token))

    def part(self, params: Raw | UnsetType, *, first: bool, alone: bool) -> Raw | UnsetType:
        """One server's part of a request: only one may tell of progress, none in pieces."""
        if alone or isinstance(params, UnsetType) or b"Token" not in bytes(params):
            return params
        value = msgspec.json.decode(params)
        value.pop("partialResultToken", None)
        if not first:
            value.pop("workDoneToken", None)
        return raw(value)
