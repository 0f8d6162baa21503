"""Assembling images."""

from devbox.edge.registry.documents import LAYER_ZSTD, Descriptor, ImageDocument
from devbox.edge.registry.images import (
    RUNTIME_LAYERS,
    NewLayer,
    append,
    box_config,
    chain_id,
    keep_first,
    runtime_layers,
    scratch,
    without_volumes,
)
from devbox.model.projects import ImageConfig

CONFIG = ImageConfig(cmd=("run",), env=("A=1",), user="devbox", working_dir="/project")


def layer(letter: str) -> NewLayer:
    digest = "sha256:" + letter * 64
    return NewLayer(
        descriptor=Descriptor(media_type=LAYER_ZSTD, digest=digest, size=1),
        diff_id=digest,
        created_by="test",
    )


def based(*letters: str) -> ImageDocument:
    return append(scratch("amd64", CONFIG), [layer(letter) for letter in letters]).document


def test_the_same_base_and_layers_give_the_same_digest() -> None:
    again = [append(based("a"), [layer("b")]) for _ in range(2)]
    assert again[0].digest == again[1].digest
    assert box_config(again[0].document) == CONFIG
    assert append(based("a"), [layer("c")]).digest != again[0].digest


def test_history_and_diff_ids_follow_the_layers() -> None:
    whole = based("a", "b", "c")
    cut = keep_first(whole, 1)
    assert cut.diff_ids == based("a").diff_ids
    assert len(cut.config["history"]) == 1
    assert append(cut, [layer("b"), layer("c")]).document == whole


def test_a_base_whose_history_does_not_fit_gets_one_that_does() -> None:
    base = based("a", "b")
    del base.config["history"]
    made = append(base, [layer("c")])
    assert len(made.document.config["history"]) == 3


def test_runtime_layers_are_told_by_saves_only() -> None:
    base = based("a", "b")
    save = append(base, [layer("c")], {RUNTIME_LAYERS: "2"}).document
    assert runtime_layers(base) == 2
    assert runtime_layers(save) == 2
    assert runtime_layers(append(save, [layer("d")]).document) == 2


def test_volumes_are_taken_out() -> None:
    base = based("a")
    base.config["config"]["Volumes"] = {"/data": {}}
    assert "Volumes" not in without_volumes(base).document.config["config"]


def test_chain_ids_are_those_of_the_specification() -> None:
    one, two = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert chain_id([one]) == one
    assert chain_id([one, two]) == (
        "sha256:" + __import__("hashlib").sha256(f"{one} {two}".encode()).hexdigest()
    )
