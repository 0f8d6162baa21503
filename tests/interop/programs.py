"""Running clients that are programs, with changes to the environment where they need them."""

import contextlib
import os
import pty
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from tests.interop.client import PATIENCE_S, Done

_SAME: Mapping[str, str] = {}


def run(command: Sequence[str], stdin: bytes = b"", environment: Mapping[str, str] = _SAME) -> Done:
    """To its end."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def must(
    command: Sequence[str], stdin: bytes = b"", environment: Mapping[str, str] = _SAME
) -> bytes:
    """To its end, which is to be a good one."""
    done = run(command, stdin, environment)
    assert done.status == 0, done
    return done.out


def on_a_terminal(command: Sequence[str], environment: Mapping[str, str] = _SAME) -> bytes:
    """All it says to the terminal it was given."""
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        stack.callback(process.kill)
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # EIO is how a terminal ends
            while data := os.read(ours, 65536):
                said += data
        process.wait(PATIENCE_S)
        return said


@contextlib.contextmanager
def staying(
    command: Sequence[str], environment: Mapping[str, str] = _SAME
) -> Iterator[subprocess.Popen[bytes]]:
    """As long as the block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def all_at_once(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] = _SAME
) -> list[Done]:
    """Start all, then collect."""
    running = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )
        for command in commands
    ]
    results = []
    for one in running:
        out, err = one.communicate(timeout=PATIENCE_S)
        results.append(Done(one.returncode, out, err))
    return results


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
