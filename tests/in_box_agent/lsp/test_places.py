"""An editor's names of files, and the box's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.model.errors import BadInput
from in_box_agent.lsp.places import Pair, Places

LINUX = (
    ("file:///home/me/my%20app", "file:///project"),
    ("file:///home/me/.cache/devbox/files/uid", "file:///"),
)
WINDOWS = (("file:///c%3A/Users/me/app", "file:///project"), ("file:///c%3A/cache", "file:///"))
BROWSING = (("devbox-fs://hello.default", "file:///"),)


@pytest.mark.parametrize(
    ("pairs", "editor", "box"),
    [
        (LINUX, "file:///home/me/my%20app/src/a.py", "file:///project/src/a.py"),
        (LINUX, "file:///home/me/my%20app", "file:///project"),
        (LINUX, "file:///home/me/my%20app/%C3%A4/%FF", "file:///project/%C3%A4/%FF"),
        (LINUX, "file:///home/me/my%20app/a.md#L3", "file:///project/a.md#L3"),
        (
            LINUX,
            "file:///home/me/.cache/devbox/files/uid/usr/lib/python3.11/os.py",
            "file:///usr/lib/python3.11/os.py",
        ),
        (LINUX, "file:///home/me/.cache/devbox/files/uid/projects/x", "file:///projects/x"),
        (WINDOWS, "file:///c%3A/Users/me/app/a%20b.py", "file:///project/a%20b.py"),
        (WINDOWS, "file:///c%3A/cache/usr/include/stdio.h", "file:///usr/include/stdio.h"),
        (BROWSING, "devbox-fs://hello.default/project/a.py", "file:///project/a.py"),
        (BROWSING, "devbox-fs://hello.default/usr/bin", "file:///usr/bin"),
    ],
)
def test_both_ways(pairs: tuple[Pair, ...], editor: str, box: str) -> None:
    places = Places(pairs)
    assert places.to_box.uri(editor) == box
    assert places.to_editor.uri(box) == editor


@pytest.mark.parametrize(
    ("pairs", "written", "box"),
    [
        (LINUX, "file://localhost/home/me/my app/a.py", "file:///project/a.py"),
        (LINUX, "FILE:///home/me/my%20app/%61.py", "file:///project/a.py"),
        (WINDOWS, "file:///C:/Users/me/app/a.py", "file:///project/a.py"),
        (WINDOWS, "file:///c:/Users/me/app/a.py", "file:///project/a.py"),
    ],
)
def test_other_spellings_of_an_editor_are_understood_and_answered_in_kind(
    pairs: tuple[Pair, ...], written: str, box: str
) -> None:
    places = Places(pairs)
    assert places.to_box.uri(written) == box
    usual = places.to_editor.uri(box)
    assert usual != written
    places.opened(written)
    assert places.to_editor.uri(box) == written
    places.closed(box)
    assert places.to_editor.uri(box) == usual


@pytest.mark.parametrize(
    "uri",
    [
        "untitled:Untitled-1",
        "https://docs.python.org/3/",
        "file:///home/me/my%20application/a.py",
        "file:///home/other/a.py",
        "file://server/home/me/my%20app/a.py",
        "devbox-fs://other.default/project/a.py",
        "file:relative",
        "",
    ],
)
def test_what_is_in_no_known_folder_stays(uri: str) -> None:
    assert Places(LINUX).to_box.uri(uri) == uri


@pytest.mark.parametrize(
    ("pairs", "editor", "box"),
    [
        (LINUX, "/home/me/my app", "/project"),
        (LINUX, "/home/me/my app/**/*.py", "/project/**/*.py"),
        (WINDOWS, "c:/Users/me/app/{a,b}/*.ts", "/project/{a,b}/*.ts"),
    ],
)
def test_paths_and_patterns_both_ways(pairs: tuple[Pair, ...], editor: str, box: str) -> None:
    places = Places(pairs)
    assert places.to_box.path(editor) == box
    assert places.to_editor.path(box) == editor


def test_a_windows_path_is_understood_and_relative_patterns_stay() -> None:
    places = Places(WINDOWS)
    assert places.to_box.path("C:\\Users\\me\\app\\src") == "/project/src"
    assert places.to_box.path("**/*.py") == "**/*.py"
    assert places.to_editor.path("src/{a,b}") == "src/{a,b}"


@pytest.mark.parametrize("bad", ["/home/me", "http://x/y", "file:///a?b", ""])
def test_a_folder_is_a_uri(bad: str) -> None:
    with pytest.raises(BadInput, match="not a folder's URI"):
        Places([(bad, "file:///project")])


names = st.binary(min_size=1, max_size=12).filter(lambda raw: b"/" not in raw and b"\0" not in raw)


@given(st.lists(names, min_size=1, max_size=4))
def test_any_name_of_a_file_comes_back(parts: list[bytes]) -> None:
    places = Places(LINUX)
    box = "file:///project/" + "/".join("".join(f"%{byte:02X}" for byte in part) for part in parts)
    editor = places.to_editor.uri(box)
    assert editor.startswith("file:///home/me/my%20app/")
    assert places.to_editor.uri(places.to_box.uri(editor)) == editor
