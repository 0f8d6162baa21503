"""An API client that checks every answer against the gateway's own OpenAPI document."""

from typing import Any

import aiohttp
import jsonschema
import msgspec

from devbox.edge.api import Api
from devbox.edge.routes import PREFIX, Route


class DescribedApi(Api):
    """Fails when an answer is not as described. `seen` holds (operation, status)."""

    def __init__(self, url: str, token: str, document: dict[str, Any]) -> None:
        super().__init__(url, token)
        self._document = document
        self.seen: set[tuple[str, int]] = set()

    def _read(self, route: Route, status: int, body: bytes) -> Any:
        self.seen.add((route.operation, status))
        responses = operations(self._document)[route.operation]["responses"]
        described = responses.get(str(status), responses["default"])
        schema = described["content"]["application/json"]["schema"]
        check(msgspec.json.decode(body), schema, self._document)
        return super()._read(route, status, body)


def operations(document: dict[str, Any]) -> dict[str, Any]:
    """Operation id -> operation."""
    return {op["operationId"]: op for path in document["paths"].values() for op in path.values()}


def check(instance: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Validate; unknown fields fail too."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(instance)


async def read_document(url: str) -> dict[str, Any]:
    """The gateway's document."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}{PREFIX}/openapi.json") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found
