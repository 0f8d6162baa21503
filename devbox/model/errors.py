"""Everything that can go wrong, by whose fault it is.

    DevboxError
      +- BadInput       400, exit 2   the request itself is wrong
      +- Unauthorized   401, exit 3   no or a wrong credential; says nothing about what exists
      +- Forbidden      403, exit 3   the credential is good but does not allow this
      +- NotFound       404, exit 4   what is named does not exist
      +- Conflict       409, exit 5   it exists, or its state does not allow this
      +- Unavailable    503, exit 6   a part is down or busy; trying again may help
      +- NoSpace        507, exit 7   a disk or a quota is full
      +- Internal       500, exit 1   our fault

`hint` says what is safe and what to do; `message` says what happened. Neither ever holds a secret.
"""

from typing import ClassVar


class DevboxError(Exception):
    """What happened (`message`), and what is safe and what to do (`hint`)."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class BadInput(DevboxError):
    """The request itself is wrong."""

    code = "bad_input"
    http_status = 400
    exit_code = 2


class Unauthorized(DevboxError):
    """No credential, or a wrong one."""

    code = "unauthorized"
    http_status = 401
    exit_code = 3


class Forbidden(DevboxError):
    """The credential is good but does not allow this."""

    code = "forbidden"
    http_status = 403
    exit_code = 3


class NotFound(DevboxError):
    """What is named does not exist."""

    code = "not_found"
    http_status = 404
    exit_code = 4


class Conflict(DevboxError):
    """It exists already, or its state does not allow this."""

    code = "conflict"
    http_status = 409
    exit_code = 5


class Unavailable(DevboxError):
    """A part is down or busy; trying again may help."""

    code = "unavailable"
    http_status = 503
    exit_code = 6


class NoSpace(DevboxError):
    """A disk or a quota is full."""

    code = "no_space"
    http_status = 507
    exit_code = 7


class Internal(DevboxError):
    """Our fault."""


BY_CODE: dict[str, type[DevboxError]] = {
    kind.code: kind
    for kind in (
        BadInput,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        Unavailable,
        NoSpace,
        Internal,
    )
}
