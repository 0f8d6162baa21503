"""The table of routes: what is written for a request reads back as that request."""

from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import pytest

from devbox.edge.routes import ROUTES, TABLE, Route
from devbox.model import orchestrator as o
from devbox.model.grants import Scope
from devbox.model.projects import Port, ProjectSpec

NAMES: dict[str, Any] = {"namespace": "team", "name": "a b/é"}
REQUESTS: dict[str, msgspec.Struct] = {
    "create_project": o.CreateProject(
        **NAMES, spec=ProjectSpec(runtime="python", ports=(Port(port=1),), env={"A": "b"})
    ),
    "list_projects": o.ListProjects(namespaces=("a", "b")),
    "list_namespace": o.ListProjects(namespaces=("team",)),
    "get_disk": o.AskDisk(namespaces=("a", "b")),
    "get_logs": o.AskLogs(**NAMES, lines=3),
    "new_token": o.NewToken(**NAMES, token_name="x", scopes=(Scope.SSH,), lifetime_s=1.5),
    "revoke_token": o.RevokeToken(**NAMES, token_id="../x"),
    "rotate_tokens": o.RotateTokens(**NAMES, token_id="x"),
    "make_user": o.MakeUser(name="ada", admin=True, namespaces=("a", "b")),
    "add_runtime": o.AddRuntime(name="tool", reference="host:5000/tool:1"),
    "make_release": o.MakeRelease(**NAMES, version="v1", notes="a\n"),
    "start_project": o.ProjectKey(**NAMES),
}


def _read_back(route: Route, request: msgspec.Struct) -> msgspec.Struct:
    named = dict(zip(route.path.split("/"), route.url(request).split("/"), strict=True))
    path = {part[1:-1]: unquote(value) for part, value in named.items() if part.startswith("{")}
    if route.has_body:
        return route.from_body(path, route.body(request))
    query = "&".join(f"{name}={value}" for name, value in route.query(request))
    return route.from_query(path, parse_qs(query))


@pytest.mark.parametrize("operation", sorted(REQUESTS))
def test_a_request_reads_back(operation: str) -> None:
    request = REQUESTS[operation]
    assert _read_back(ROUTES[operation], request) == request


def test_what_is_left_out_takes_its_default() -> None:
    route = ROUTES["get_logs"]
    assert route.from_query({"namespace": "a", "name": "b"}, {}) == o.AskLogs(
        namespace="a", name="b"
    )
    assert ROUTES["list_projects"].from_query({}, {}) == o.ListProjects()


def test_path_and_body_do_not_contradict() -> None:
    with pytest.raises(msgspec.ValidationError, match="namespace"):
        ROUTES["ask_save"].from_body({"namespace": "a", "name": "b"}, b'{"namespace":"c"}')


def test_no_two_routes_are_the_same() -> None:
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)
    assert len(ROUTES) == len(TABLE)
