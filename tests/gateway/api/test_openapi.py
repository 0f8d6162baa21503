"""The OpenAPI document is valid and tells every route."""

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from devbox.edge.routes import TABLE
from gateway.api.openapi import document
from tests.support.described import operations


@pytest.mark.smoke
def test_the_document_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(document("1")).validate()


def test_every_route_is_told_once() -> None:
    found = operations(document("1"))
    assert set(found) == {route.operation for route in TABLE}
    assert len(found) == len(TABLE)


def test_bodies_leave_out_what_the_path_names() -> None:
    schemas = document("1")["components"]["schemas"]
    assert set(schemas["CreateProjectBody"]["properties"]) == {"name", "spec", "start"}
    assert schemas["CreateProjectBody"]["additionalProperties"] is False
    assert set(schemas["NewTokenBody"]["required"]) == {"token_name"}


def test_queries_and_places_are_told() -> None:
    found = operations(document("1"))
    assert [p["name"] for p in found["get_logs"]["parameters"]] == ["namespace", "name", "lines"]
    assert [p["in"] for p in found["list_projects"]["parameters"]] == ["query"]
