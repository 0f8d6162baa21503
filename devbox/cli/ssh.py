"""`devbox ssh`: a shell or a command in a box, by name or by address alone."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from devbox.cli import known_hosts, openssh
from devbox.cli.lazy import Call, command, to_end
from devbox.cli.options import Namespace, complete_projects
from devbox.cli.reach import Target, target
from devbox.cli.sessions import fetch_project, target_of_address
from devbox.model.errors import BadInput

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The project: NAME, or NAMESPACE/NAME.",
        autocompletion=complete_projects,
        show_default=False,
    ),
]
AddressOption = Annotated[
    str, typer.Option("--address", metavar="URL", help="wss://host/cluster/…, instead of NAME.")
]
AddressFile = Annotated[
    Path | None,
    typer.Option(
        "--address-file", metavar="FILE", help="A file that holds the address; keeps it secret."
    ),
]
Stdio = Annotated[bool, typer.Option("--stdio", help="Be the ProxyCommand of another SSH client.")]
Listen = Annotated[
    int | None,
    typer.Option(
        "--listen",
        metavar="PORT",
        min=0,
        max=65535,
        help="Listen here for SSH clients that take no ProxyCommand; 0 is any port.",
    ),
]
Tty = Annotated[bool, typer.Option("--tty", "-t", help="A terminal for the command too.")]
ForwardAgent = Annotated[
    bool, typer.Option("--forward-agent", "-A", help="Let the box use your SSH agent.")
]


@dataclass(frozen=True)
class Options:
    """How the ssh client is started."""

    tty: bool = False
    forward_agent: bool = False
    words: tuple[str, ...] = ()
    """The command; empty is a shell."""

    def words_for(self, host: str) -> list[str]:
        """What follows our own options."""
        flags = ["-t"] if self.tty else []
        flags += ["-A"] if self.forward_agent else []
        return [*flags, host, *(["--", *self.words] if self.words else [])]


@command(
    "devbox ssh hello",
    "devbox ssh hello -- make -C /project test",
    "devbox ssh --address-file secret.txt -- uname -a",
    "ssh -o ProxyCommand='devbox ssh --stdio hello' devbox@hello",
    "devbox ssh --listen 2222 hello",
    passes_arguments=True,
)
def ssh(
    call: Call,
    name: Name = "",
    namespace: Namespace = "",
    address: AddressOption = "",
    address_file: AddressFile = None,
    stdio: Stdio = False,
    listen: Listen = None,
    tty: Tty = False,
    forward_agent: ForwardAgent = False,
    arguments: tuple[str, ...] = (),
) -> int:
    """Open a shell in a box, or run a command there and end with its exit status.

    What follows `--` is the command. A stopped project is started by connecting to it.
    """
    given = _address(name, address, address_file)
    if stdio or listen is not None:
        wanted = target(call, name, namespace) if name else target_of_address(given, _ca_file())
        return _carry(call, wanted, stdio=stdio, port=listen)
    options = Options(tty, forward_agent, tuple(arguments))
    if name:
        _by_name(call, name, namespace, options)
    else:
        _by_address(given, options)
    return 0


def _carry(call: Call, wanted: Target, *, stdio: bool, port: int | None) -> int:
    """Bring another SSH client there."""
    if port is None:
        from devbox.cli.stdio import serve_stdio

        return serve_stdio(wanted)
    if stdio:
        raise BadInput("--stdio and --listen are two ways", "Give one of them.")
    from devbox.cli.listen import listen

    to_end(listen(call, wanted, port))
    return 0


@command(
    "devbox exec hello -- make -C /project test",
    "devbox exec hello -- 'cd /project && make'",
    "devbox exec hello -- psql -h db -U postgres < dump.sql",
    passes_arguments=True,
)
def execute(
    call: Call, name: Name, namespace: Namespace = "", arguments: tuple[str, ...] = ()
) -> int:
    """Run a command in a box: its own exit status, standard error apart, no terminal.

    Its words arrive as they were given; a single one is a line for the box's shell.
    """
    if not arguments:
        raise BadInput("there is no command to run", "Write it behind `--`.")
    _by_name(call, name, namespace, Options(words=(as_one_line(arguments),)))
    return 0


def as_one_line(words: tuple[str, ...]) -> str:
    """What a shell splits into the same words; ssh itself would join them with blanks."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _address(name: str, address: str, address_file: Path | None) -> str:
    """The address to use, if no name was given. Raises BadInput for none, or too many."""
    from devbox.cli.files import read_text

    if sum(map(bool, (name, address, address_file))) > 1:
        raise BadInput("a project was named in more than one way", "Give NAME, or one address.")
    if name:
        return ""
    if address_file is not None:
        if not address_file.exists():
            raise BadInput(f"there is no file {address_file}", "Give the file with the address.")
        return read_text(address_file).strip()
    given = address or os.environ.get(openssh.ADDRESS_VARIABLE, "")
    if not given:
        raise BadInput(
            "no project was named",
            f"Give NAME, --address-file FILE, or an address in ${openssh.ADDRESS_VARIABLE}.",
        )
    return given


def _by_name(call: Call, name: str, namespace: str, options: Options) -> None:
    """Become the ssh client of a project that the context knows."""
    wanted = target(call, name, namespace)
    proxy = openssh.proxy_command(["--context", wanted.context.name, wanted.place])
    _become(wanted, proxy, options, {})


def _by_address(url: str, options: Options) -> None:
    """Become the ssh client of an address, on a machine that knows nothing else."""
    wanted = target_of_address(url, _ca_file())
    _become(wanted, openssh.proxy_command([]), options, {openssh.ADDRESS_VARIABLE: url})


def _become(wanted: Target, proxy: str, options: Options, environment: dict[str, str]) -> None:
    project = to_end(fetch_project(wanted))
    known_hosts.pin({project.uid: project.host_key})
    if project.status.phase == "stopped" and sys.stderr.isatty():
        print(f"{project.name} is stopped; connecting starts it.", file=sys.stderr)
    words = [
        openssh.program("ssh"),
        *openssh.arguments(project.uid, proxy),
        *options.words_for(f"{wanted.key.name}.devbox"),
    ]
    openssh.replace_process(words, {**os.environ, **environment})


def _ca_file() -> str:
    """Authorities to trust for an address, which has no context to name them."""
    return os.environ.get("DEVBOX_CA_FILE", "")
