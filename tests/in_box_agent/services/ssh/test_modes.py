"""Terminal modes as clients send them (RFC 4254 section 8)."""

import os
import termios
from typing import Any

from in_box_agent.services.ssh.modes import changed


def terminal_modes() -> list[Any]:
    ours, theirs = os.openpty()
    try:
        return termios.tcgetattr(ours)
    finally:
        os.close(ours)
        os.close(theirs)


def test_flags_are_set_and_cleared() -> None:
    before = terminal_modes()
    assert before[3] & termios.ECHO
    after = changed(before, {53: 0, 39: 1, 72: 0, 42: 1})
    assert not after[3] & termios.ECHO
    assert after[0] & termios.IXANY
    assert not after[1] & termios.ONLCR
    assert after[0] & 0o40000
    assert before[3] & termios.ECHO, "the old modes are not touched"


def test_characters() -> None:
    after = changed(terminal_modes(), {1: 7, 3: 255})
    assert after[6][termios.VINTR] == b"\x07"
    assert after[6][termios.VERASE] == b"\0"


def test_what_is_unknown_is_left_out() -> None:
    before = terminal_modes()
    assert changed(before, {128: 38400, 129: 38400, 200: 5, 17: 3}) == before
