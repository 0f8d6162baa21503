"""Why boxes end, in words."""

import pytest

from controller.embedded.endings import could_not_start, sentence


@pytest.mark.parametrize(
    ("exit_code", "reason", "line", "said"),
    [
        (1, "Error", "no such table", "exit code 1; its last line was: 'no such table'."),
        (0, "Completed", "", "The box ended with exit code 0."),
        (137, "Error", "", "ended by SIGKILL (exit code 137)."),
        (137, "OOMKilled", "", "more memory than its bound allows."),
        (255, "Unknown", "", "exit code 255."),
    ],
)
def test_sentences(exit_code: int, reason: str, line: str, said: str) -> None:
    assert sentence(exit_code, reason, line).endswith(said)


def test_a_long_last_line_is_cut() -> None:
    assert len(sentence(1, "", "x" * 5000)) < 400


def test_a_box_that_could_not_start() -> None:
    assert could_not_start("disk full.") == "The box could not be started: disk full."
