"""The OpenAPI 3.1 document of the HTTP API, made from the table of routes."""

from typing import Any

import msgspec

from devbox.edge.routes import PREFIX, TABLE, Route
from devbox.edge.rpc import Failure

_REF = "#/components/schemas/{name}"


def document(version: str) -> dict[str, Any]:
    """The whole document."""
    kinds: list[Any] = [Failure, *(route.answer for route in TABLE)]
    kinds += [route.rest for route in TABLE if route.has_body]
    kinds += [field.type for route in TABLE for field in _queried(route)]
    unique = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    known = dict(zip(unique, schemas, strict=True))
    whole = _whole(version, components, known)
    # Defaults are tuples and enums until then.
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(whole))
    return plain


def _whole(version: str, components: dict[str, Any], known: dict[Any, Any]) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Devbox",
            "version": version,
            "description": "Projects, their saves and releases, runtimes and users.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": _paths(known),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user's token, or a project's own.",
                }
            },
        },
    }


def _paths(known: dict[Any, Any]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in TABLE:
        paths.setdefault(_path(route), {})[route.method.lower()] = _operation(route, known)
    return paths


def _path(route: Route) -> str:
    # One template per place: OpenAPI takes two that differ in a name alone for the same.
    return route.path.replace("{namespaces}", "{namespace}")


def _operation(route: Route, known: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": f"For {route.who.value}. Admins may always.",
        "parameters": [*_in_path(route), *_in_query(route, known)],
        "responses": {
            str(route.status): _content("The answer.", known[route.answer]),
            "default": _content("What went wrong, and what to do.", known[Failure]),
        },
    }
    if route.has_body:
        body = _content("", known[route.rest])
        operation["requestBody"] = {"required": True, "content": body["content"]}
    return operation


def _content(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _in_path(route: Route) -> list[dict[str, Any]]:
    names = [name.replace("namespaces", "namespace") for name in route.in_path]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _in_query(route: Route, known: dict[Any, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": field.name,
            "in": "query",
            "required": field.required,
            "schema": known[field.type],
        }
        for field in _queried(route)
    ]


def _queried(route: Route) -> tuple[msgspec.structs.FieldInfo, ...]:
    return () if route.method in {"POST", "PATCH"} else msgspec.structs.fields(route.rest)
