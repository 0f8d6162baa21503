"""Bearer tokens for registries that ask for them (distribution spec, token authentication).

Keeps tokens in memory, per scope. A password goes only to the realm that the registry named.
"""

import base64
import re

import aiohttp
import msgspec

from devbox.model.errors import Unauthorized

_CHALLENGE = re.compile(r'([a-zA-Z]+)="([^"]*)"')


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A registry account. `repr` hides the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user!r})"


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


def _basic(credentials: Credentials) -> str:
    """RFC 7617."""
    pair = f"{credentials.user}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


class Authorizer:
    """Answers a registry's 401 challenges."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials
        self._headers: dict[str, str] = {}

    def header(self, scope: str) -> dict[str, str]:
        """What to send for this scope now."""
        known = self._headers.get(scope)
        return {} if known is None else {"Authorization": known}

    async def answer(
        self, challenge: str, scope: str, http: aiohttp.ClientSession, timeout_s: float
    ) -> None:
        """Get what the challenge asks for. Raises Unauthorized."""
        kind = challenge.split(" ", 1)[0].lower()
        if kind == "basic" and self._credentials is not None:
            self._headers[scope] = _basic(self._credentials)
        elif kind == "bearer":
            self._headers[scope] = await self._bearer(challenge, scope, http, timeout_s)
        else:
            raise Unauthorized("the registry wants a password", "Give the registry's credentials.")

    async def _bearer(
        self, challenge: str, scope: str, http: aiohttp.ClientSession, timeout_s: float
    ) -> str:
        fields = dict(_CHALLENGE.findall(challenge))
        realm = fields.get("realm", "")
        query = {"service": fields.get("service", ""), "scope": fields.get("scope", scope)}
        async with http.get(
            realm,
            params={key: value for key, value in query.items() if value},
            headers={"Authorization": _basic(self._credentials)} if self._credentials else {},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            if not response.ok:
                raise Unauthorized(
                    f"the registry's token service answered {response.status}",
                    "Check the image's name, and the credentials if it is private.",
                )
            found = msgspec.json.decode(await response.read(), type=_Token)
        return f"Bearer {found.token or found.access_token}"
