"""A client's terminal modes (RFC 4254 section 8) as changes to termios(3) modes. Pure."""

import termios
from collections.abc import Mapping
from typing import Any

_IUTF8 = 0o40000
_CHARACTERS = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    6: termios.VEOL,
    7: termios.VEOL2,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
    12: termios.VREPRINT,
    13: termios.VWERASE,
    14: termios.VLNEXT,
    18: termios.VDISCARD,
}
_INPUT, _OUTPUT, _CONTROL, _LOCAL, _CC = 0, 1, 2, 3, 6
"""Places in the list that termios.tcgetattr gives."""
_FLAGS = {
    30: (_INPUT, termios.IGNPAR),
    31: (_INPUT, termios.PARMRK),
    32: (_INPUT, termios.INPCK),
    33: (_INPUT, termios.ISTRIP),
    34: (_INPUT, termios.INLCR),
    35: (_INPUT, termios.IGNCR),
    36: (_INPUT, termios.ICRNL),
    38: (_INPUT, termios.IXON),
    39: (_INPUT, termios.IXANY),
    40: (_INPUT, termios.IXOFF),
    41: (_INPUT, termios.IMAXBEL),
    42: (_INPUT, _IUTF8),
    50: (_LOCAL, termios.ISIG),
    51: (_LOCAL, termios.ICANON),
    53: (_LOCAL, termios.ECHO),
    54: (_LOCAL, termios.ECHOE),
    55: (_LOCAL, termios.ECHOK),
    56: (_LOCAL, termios.ECHONL),
    57: (_LOCAL, termios.NOFLSH),
    58: (_LOCAL, termios.TOSTOP),
    59: (_LOCAL, termios.IEXTEN),
    60: (_LOCAL, termios.ECHOCTL),
    61: (_LOCAL, termios.ECHOKE),
    70: (_OUTPUT, termios.OPOST),
    72: (_OUTPUT, termios.ONLCR),
    73: (_OUTPUT, termios.OCRNL),
    74: (_OUTPUT, termios.ONOCR),
    75: (_OUTPUT, termios.ONLRET),
    90: (_CONTROL, termios.CS7),
    91: (_CONTROL, termios.CS8),
    92: (_CONTROL, termios.PARENB),
    93: (_CONTROL, termios.PARODD),
}
_DISABLED = 255
"""How a client says that a special character is switched off."""


def changed(modes: list[Any], wanted: Mapping[int, int]) -> list[Any]:
    """Modes as tcgetattr gives them, with the client's wishes; unknown ones are left out."""
    result = [*modes[:_CC], list(modes[_CC])]
    for opcode, value in wanted.items():
        if opcode in _CHARACTERS:
            character = 0 if value == _DISABLED else value & 0xFF
            result[_CC][_CHARACTERS[opcode]] = bytes([character])
        elif opcode in _FLAGS:
            place, flag = _FLAGS[opcode]
            result[place] = result[place] | flag if value else result[place] & ~flag
    return result
