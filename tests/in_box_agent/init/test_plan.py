"""The plan in the form that init.c reads."""

import msgspec

from devbox.model.nodes import StartRecord
from devbox.model.projects import ImageConfig
from in_box_agent.init.plan import plan

RECORD = StartRecord(
    project_uid="p1",
    cluster="c",
    region="r",
    namespace="n",
    project="p",
    generation=1,
    host_key="secret",
    grant_keys=(),
    config=ImageConfig(entrypoint=("/entry",), cmd=("serve", ""), working_dir="/data"),
    env={"A": "1"},
    run_image_command=True,
)


def test_the_images_command() -> None:
    assert plan(RECORD, {"A": "0", "P": "/bin"}, "/").split(b"\0") == [
        *(b"run", b"/data"),
        *(b"3", b"/entry", b"serve", b""),
        *(b"2", b"A=1", b"P=/bin"),
        *(b"end", b""),
    ]


def test_none_unless_the_project_asks() -> None:
    silent = msgspec.structs.replace(RECORD, run_image_command=False)
    assert plan(silent, {}, "/") == b"none\0end\0"


def test_none_when_the_image_has_none() -> None:
    empty = msgspec.structs.replace(RECORD, config=ImageConfig())
    assert plan(empty, {}, "/") == b"none\0end\0"


def test_no_secret_is_in_it() -> None:
    assert b"secret" not in plan(RECORD, {}, "/")
