"""Errors on the wire: {code, message, hint}. Light: every client starts with it."""

import msgspec

from devbox.model import errors


class Failure(msgspec.Struct, frozen=True):
    """An error on the wire; also the body of every failed API call."""

    code: str
    message: str
    hint: str = ""


def failure_of(error: errors.DevboxError) -> Failure:
    """The wire form of an error."""
    return Failure(code=error.code, message=error.message, hint=error.hint)


def error_of(failure: Failure) -> errors.DevboxError:
    """The error of a wire form."""
    return errors.BY_CODE.get(failure.code, errors.Internal)(failure.message, failure.hint)
