"""One SSH session channel: shell, command, sftp or scp."""
# ruff: noqa: ARG002 - asyncssh calls back with arguments of its own choice

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asyncssh import EXTENDED_DATA_STDERR, SSHServerChannel
from asyncssh.stream import SSHServerStreamSession

from in_box_agent.services.process import STDERR, Command, Process, Window
from in_box_agent.services.ssh import modes
from in_box_agent.services.ssh.files import BoxFiles

if TYPE_CHECKING:
    from in_box_agent.services.ssh.server import Connection

_HIGH_BYTES = 1 << 20
_SFTP_VERSION = 3
"""As OpenSSH speaks it, with its extensions."""
_CANNOT_RUN = 126


class Session(SSHServerStreamSession[bytes]):
    """Files are served by asyncssh's own streams; processes by callbacks, to copy nothing twice."""

    def __init__(self, connection: "Connection") -> None:
        super().__init__(None, self._files, _SFTP_VERSION, True)
        self._connection = connection
        self._around = connection.box.surroundings
        self._channel: SSHServerChannel[bytes]
        self._process: Process | None = None
        self._window: Window | None = None
        self._modes: Mapping[int, int] = {}
        self._channel_full = False

    def _files(self, channel: Any) -> BoxFiles:
        return BoxFiles(channel, self._around)

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        super().connection_made(chan)
        self._channel = chan
        chan.set_write_buffer_limits(high=_HIGH_BYTES)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        """The client wants a terminal."""
        self._window = _window(*term_size)
        self._modes = dict(term_modes)
        return True

    def shell_requested(self) -> bool:
        """Always."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Always."""
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Only sftp."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """The client asked for what it wants."""
        command = self._channel.get_command()
        if self._channel.get_subsystem() or (command or "").startswith("scp "):
            super().session_started()
            return
        try:
            self._process = Process(self, self._command(command))
        except (OSError, ValueError) as error:  # ValueError: a NUL in what the client sent
            self._channel.write_stderr(f"devbox: cannot start a process: {error}\r\n".encode())
            self._channel.exit(_CANNOT_RUN)
            return
        if self._window is not None:
            self._process.change_modes(lambda found: modes.changed(found, self._modes))
        self._connection.sessions.add(self)
        self._hold_output()

    def _command(self, command: str | None) -> Command:
        around = self._around
        return Command(
            program=around.shell,
            argv=around.shell_argv if command is None else around.command_argv(command),
            env=self._environment(),
            directory=around.directory,
            home=around.env["HOME"],
            terminal=self._window,
            starter=around.starter,
        )

    def _environment(self) -> dict[str, str]:
        env = dict(self._around.env)
        env["SSH_CLIENT"] = "127.0.0.1 0 22"
        env["SSH_CONNECTION"] = "127.0.0.1 0 127.0.0.1 22"
        agent = self._channel.get_agent_path()
        if agent:
            self._connection.forwards_agent(agent)
        env["SSH_AUTH_SOCK"] = self._around.agent_socket
        terminal = self._channel.get_terminal_type()
        if terminal:
            env["TERM"] = terminal
        env.update(self._channel.get_environment())
        return env

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Input of the process."""
        if self._process is None:
            super().data_received(data, datatype)
        else:
            self._process.write(data)

    def eof_received(self) -> bool:
        """The end of its input. The channel stays open for what the process still says."""
        if self._process is None:
            return bool(super().eof_received())
        self._process.end_input()
        return True

    def pause_writing(self) -> None:
        """The client does not take more."""
        self._channel_full = True
        if self._process is None:
            super().pause_writing()
        else:
            self._hold_output()

    def resume_writing(self) -> None:
        """It does again."""
        self._channel_full = False
        if self._process is None:
            super().resume_writing()
        else:
            self._hold_output()

    def congestion_changed(self) -> None:
        """The link under all channels fills or empties."""
        self._hold_output()

    def _hold_output(self) -> None:
        if self._process is not None:
            self._process.pause(self._channel_full or self._connection.congested)

    def output(self, data: bytes, source: int) -> None:
        """The process said something."""
        if not self._channel.is_closing():
            self._channel.write(data, EXTENDED_DATA_STDERR if source == STDERR else None)

    def ended(self, status: int) -> None:
        """The process is gone."""
        self._connection.sessions.discard(self)
        if status >= 0:
            self._channel.exit(status)
        else:
            self._channel.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))

    def input_full(self, full: bool) -> None:
        """The process reads slower than the client sends."""
        if full:
            self._channel.pause_reading()
        else:
            self._channel.resume_reading()

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window changed."""
        self._window = _window(width, height, pixwidth, pixheight)
        if self._process is not None:
            self._process.resize(self._window)

    def signal_received(self, signal: str) -> None:
        """The client signals the process."""
        number = _signal_number(signal)
        if self._process is not None and number:
            self._process.signal(number)

    def break_received(self, msec: int) -> bool:
        """The client sends a break."""
        if self._process is not None:
            self._process.send_break()
        return self._process is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        self._connection.sessions.discard(self)
        if self._process is None:
            super().connection_lost(exc)
        else:
            self._process.hang_up()


def _window(width: int, height: int, pixel_width: int, pixel_height: int) -> Window:
    limit = 0xFFFF
    return Window(
        min(height, limit), min(width, limit), min(pixel_width, limit), min(pixel_height, limit)
    )


def _signal_number(name: str) -> int:
    found = signal.Signals.__members__.get(f"SIG{name}")
    return int(found) if found else 0
