"""Tokens and names."""

import pytest

from devbox.model.errors import BadInput
from devbox.model.names import check_digest, check_label, check_version
from devbox.model.saves import SAVE_MOVES, UPPER_MOVES, SaveStep, UpperState
from devbox.model.tokens import check_token, matches, token_hash

TOKEN = "00ff" * 8


@pytest.mark.smoke
def test_only_the_hash_matches() -> None:
    assert matches(TOKEN, token_hash(TOKEN))
    assert not matches(TOKEN[::-1], token_hash(TOKEN))
    assert TOKEN not in token_hash(TOKEN)


@pytest.mark.parametrize("text", ["", TOKEN[1:], TOKEN + "0", TOKEN.upper(), "g" * 32])
def test_bad_tokens_are_not_repeated(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_token(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["a", "a-b", "0", "a" * 63])
def test_labels(text: str) -> None:
    assert check_label(text, "project") == text


@pytest.mark.parametrize("text", ["", "A", "a_b", "-a", "a-", "a" * 64, "é", "a\n"])
def test_bad_labels(text: str) -> None:
    with pytest.raises(BadInput, match="project"):
        check_label(text, "project")


@pytest.mark.parametrize("text", ["", ".1", "-1", "a/b", "a" * 65, "v 1"])
def test_bad_versions(text: str) -> None:
    with pytest.raises(BadInput):
        check_version(text)


def test_versions_and_digests() -> None:
    assert check_version("v1.2_3-x") == "v1.2_3-x"
    assert check_digest("sha256:" + "0" * 64)
    with pytest.raises(BadInput):
        check_digest("sha256:" + "0" * 63)


def test_every_step_of_a_save_has_its_moves_and_the_ends_have_none() -> None:
    assert set(SAVE_MOVES) == set(SaveStep)
    assert {step for step, moves in SAVE_MOVES.items() if not moves} == {
        SaveStep.RECORDED,
        SaveStep.DROPPED,
    }


def test_every_state_of_an_upper_has_its_moves_and_a_dirty_one_is_never_collected() -> None:
    assert set(UPPER_MOVES) == set(UpperState)
    assert UpperState.COLLECTED not in UPPER_MOVES[UpperState.DIRTY]
    assert {state for state, moves in UPPER_MOVES.items() if not moves} == {
        UpperState.COLLECTED,
        UpperState.DROPPED,
    }
