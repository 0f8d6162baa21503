"""What may stand in a log line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.secrecy import without_secret

API = "/api/v1/namespaces/team/projects/hello/saves"
TOKEN = "00ff" * 8


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/", "/"),
        ("/home/here/team/hello", "/home/here/team/hello"),
        (f"/home/here/team/hello/{TOKEN}", "/home/here/team/hello/…"),
        ("/home/here/team/hello/short-but-there/x", "/home/here/team/hello/…"),
        (f"/{TOKEN}", "/…"),
        (f"/?token={TOKEN}", "/"),
        (
            "/api/v1/namespaces/team/projects/hello/saves",
            "/api/v1/namespaces/team/projects/hello/saves",
        ),
        (f"/api/v1/x/{TOKEN.upper()}", "/api/v1/x/…"),
        (f"*{TOKEN}", "/"),
    ],
)
def test_tokens_are_left_out(target: str, shown: str) -> None:
    assert without_secret(target) == shown


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_token_passes_wherever_it_stands(before: str, after: str) -> None:
    assert TOKEN not in without_secret(f"/{before}{TOKEN}{after}")
