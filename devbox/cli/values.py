"""Values of options and arguments, read without the library that Typer reads them with.

Importing pydantic takes longer than all else that a short command does, and most values are words
that mean themselves. What is not as plain as that is left to Typer, which then imports it.
"""

import enum
from typing import Any

from typer._coercion import RuntimeParam, build_runtime_param
from typer.core import TyperArgument, TyperOption


class _Plain(RuntimeParam):
    """Takes over from Typer's own for one parameter."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value in its type. Raises BadParameter."""
        if value is None or _is_its_own(value, self.annotation):
            return super().coerce(value, param, ctx)
        return build_runtime_param(param.type_descriptor).coerce(value, param, ctx)

    def _coerce_value(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ARG002
        if self.annotation == list[str]:
            return list(value)
        return self.annotation(value)


def _is_its_own(value: Any, annotation: Any) -> bool:
    """Whether it is there already: as words, as a member of an enumeration, or as a default."""
    if annotation == list[str]:
        return not isinstance(value, str) and all(type(item) is str for item in value)
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return value in annotation.__members__.values()
    return annotation in {str, int, float} and type(value) is annotation


def read_plainly(parameters: list[Any]) -> list[Any]:
    """Let the values of these parameters be read so."""
    for parameter in parameters:
        if isinstance(parameter, TyperArgument | TyperOption):
            descriptor = parameter.type_descriptor
            parameter._runtime_param = _Plain(descriptor.parameter_info, descriptor.annotation)
    return parameters
