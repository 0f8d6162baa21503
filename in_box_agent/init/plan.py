"""The plan: what init shall run beside the agent. Pure; `init.c` holds the other side."""

from collections.abc import Mapping

from devbox.model.nodes import StartRecord

_END = "end"


def plan(record: StartRecord, env: Mapping[str, str], directory: str) -> bytes:
    """The image's own command if the project asks for it, in init's form.

    `env` and `directory` are what the container runtime started init with.
    """
    command = (*record.config.entrypoint, *record.config.cmd)
    if not record.run_image_command or not command:
        return _row("none", _END)
    full = {**env, **record.env}
    where = record.config.working_dir or directory
    variables = [f"{name}={value}" for name, value in full.items()]
    return _row("run", where, str(len(command)), *command, str(len(variables)), *variables, _END)


def _row(*words: str) -> bytes:
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
