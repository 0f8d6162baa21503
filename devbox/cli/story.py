"""The steps of the story that `devbox demo` tells, each through the installed commands.

A step answers a detail for people, or raises Broken. Steps build on one another, in order.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devbox.cli import openssh

_LIMIT_S = 1800.0
_STATUS = 7

_WORK = r"""
import os, pathlib, subprocess, sys
here = pathlib.Path("/project"); here.mkdir(exist_ok=True)
(here / "app.py").write_text("print('it works')\n")
(here / "app.py").chmod(0o751)
for new in ("link", "hard"):
    (here / new).unlink(missing_ok=True)
(here / "link").symlink_to("app.py")
os.link(here / "app.py", here / "hard")
os.setxattr(here / "app.py", "user.devbox.demo", b"kept")
sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
subprocess.run([*sudo, "rm", "-f", "/etc/issue.net"], check=True)
"""

_PACKAGE = r"""
set -e
sudo=; [ "$(id -u)" = 0 ] || sudo="sudo -n"
mkdir -p /tmp/kept/DEBIAN /tmp/kept/usr/bin
printf 'Package: kept\nVersion: 1\nArchitecture: all\nMaintainer: demo <demo@example.com>\n' \
  > /tmp/kept/DEBIAN/control
printf 'Description: a command that must survive\n' >> /tmp/kept/DEBIAN/control
printf '#!/bin/sh\necho survived\n' > /tmp/kept/usr/bin/kept; chmod 755 /tmp/kept/usr/bin/kept
dpkg-deb --build --root-owner-group /tmp/kept /tmp/kept.deb > /dev/null
$sudo dpkg -i /tmp/kept.deb > /dev/null
"""

_LOOK = r"""
import os, pathlib, subprocess, json
here = pathlib.Path("/project"); app = here / "app.py"; st = app.stat()
print(json.dumps({
    "text": app.read_text(), "mode": oct(st.st_mode), "links": st.st_nlink,
    "mtime": st.st_mtime_ns, "link": os.readlink(here / "link"),
    "xattr": os.getxattr(app, "user.devbox.demo").decode(),
    "deleted": not os.path.exists("/etc/issue.net"),
    "package": subprocess.run(["kept"], capture_output=True, text=True).stdout.strip(),
}, sort_keys=True))
"""

_REACH = r"""
import socket, sys
try:
    socket.create_connection((sys.argv[1], 5432), timeout=5).close()
    print("reached")
except OSError as error:
    print("not reached")
"""


class Broken(Exception):
    """A step did not do what it should."""


class Story:
    """The projects of one telling."""

    def __init__(self, name: str, context: str) -> None:
        self.name = name
        self.second = f"{name}-second"
        self.database = f"{name}-db"
        self.stranger = f"{name}-elsewhere/stranger"
        self.made: list[str] = []
        self.url = ""
        self.files = ""
        self._context = ["--context", context] if context else []

    def devbox(self, *words: str, status: int = 0, stdin: str = "", env: Any = None) -> str:
        """Run one command line and give its stdout. Raises Broken for another exit status."""
        behind = words.index("--") if "--" in words else len(words)
        command = [*openssh.devbox_command(), *words[:behind], *self._context, *words[behind:]]
        return run(command, status=status, stdin=stdin, env=env)

    def json(self, *words: str) -> Any:
        """As `devbox`, with its result parsed."""
        return json.loads(self.devbox(*words, "--output", "json"))

    def create(self, name: str, *words: str) -> Any:
        """Make a project, and remember to clean it up."""
        self.made.append(name)
        return self.json("create", name, *words)

    def inside(self, name: str, script: str, *words: str) -> str:
        """Run a Python script in a box, through ssh."""
        return self.devbox("ssh", name, "--", "python3", "-", *words, stdin=script)

    def look(self, name: str) -> str:
        """What the files are now. Raises Broken when they are not as they were left."""
        seen = self.inside(name, _LOOK).strip()
        if self.files and seen != self.files:
            raise Broken(f"the files changed:\n{self.files}\n{seen}")
        return seen

    def clean_up(self) -> list[str]:
        """Delete all projects; those that could not be are answered."""
        left = []
        for name in reversed(self.made):
            try:
                self.devbox("delete", name, "--yes")
            except Broken:
                left.append(name)
        return left


def run(
    command: list[str], *, status: int = 0, stdin: str = "", env: Mapping[str, str] | None = None
) -> str:
    """Run a program and give its stdout. Raises Broken for another exit status than `status`."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{command[0]} took longer than {_LIMIT_S:.0f} s") from error
    if done.returncode != status:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise Broken(f"exit status {done.returncode}, not {status}: {said}")
    return done.stdout


def _create(story: Story) -> str:
    made = story.create(story.name, "--runtime", "python")
    story.url = made["url"]
    return f"its address: {made['url'].rsplit('/', 1)[0]}/…"


def _exec(story: Story) -> str:
    story.devbox("ssh", story.name, "--", f"exit {_STATUS}", status=_STATUS)
    return f"exit status {_STATUS} came through"


def _plain_ssh(story: Story) -> str:
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "ssh_config"
        config.write_text(story.devbox("ssh-config", "--print"))
        host = f"{story.name}.devbox"
        said = run([openssh.program("ssh"), "-F", str(config), host, "hostname"])
    return f"ssh {host} hostname: {said.strip()}"


def _address_alone(story: Story) -> str:
    """With an empty home and no server known, as on somebody else's machine."""
    with tempfile.TemporaryDirectory() as directory:
        secret = Path(directory) / "address"
        secret.touch(0o600)
        secret.write_text(story.url)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        clean |= {"HOME": directory, "DEVBOX_ROOT": f"{directory}/none"}
        command = [*openssh.devbox_command(), "ssh", "--address-file", str(secret)]
        said = run([*command, "--", "echo", "in"], env=clean)
    if said != "in\n":
        raise Broken(f"the command wrote {said!r}")
    return ""


def _work(story: Story) -> str:
    story.devbox("ssh", story.name, "--", "sh", "-s", stdin=_PACKAGE)
    story.inside(story.name, _WORK)
    story.files = story.look(story.name)
    return "a package, code, modes, links, xattrs; a file of the base image deleted"


def _stop(story: Story) -> str:
    story.devbox("stop", story.name)
    return ""


def _saved(story: Story) -> str:
    story.devbox("start", story.name)
    story.devbox("stop", story.name, "--wait")
    saves = [s for s in story.json("saves", story.name)["saves"] if s["step"] == "recorded"]
    if not saves:
        raise Broken("no save is recorded")
    newest = saves[0]
    return f"save {newest['seq']}: {newest['total_bytes']} bytes, {newest['digest'][:19]}"


def _start(story: Story) -> str:
    story.devbox("start", story.name)
    story.look(story.name)
    return "every file is there, and the same host key"


def _start_by_connecting(story: Story) -> str:
    story.devbox("stop", story.name)
    story.look(story.name)
    return ""


def _live_save(story: Story) -> str:
    """A session is open before, while and after the save."""
    command = [*openssh.devbox_command(), "ssh", story.name, *story._context, "--", "cat"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        try:
            _echo(session.stdin, session.stdout, "before")
            save = story.json("save", story.name)
            _echo(session.stdin, session.stdout, "after")
        finally:
            session.stdin.close()
    return f"save {save['seq']}; the box stood still for {save.get('frozen_ms', 0):.0f} ms"


def _echo(stdin: Any, stdout: Any, word: str) -> None:
    stdin.write(f"{word}\n")
    stdin.flush()
    if stdout.readline() != f"{word}\n":
        raise Broken(f"the open session ended {word} the save")


def _release(story: Story) -> str:
    story.devbox("release", story.name, "v1", "--notes", "First that works")
    story.devbox("release", story.name, "v1", status=5)
    releases = story.json("releases", story.name)["releases"]
    return f"{story.name}:v1, {releases[0]['digest'][:19]}; a second v1 was refused"


def _from_release(story: Story) -> str:
    made = story.create(story.second, "--runtime", f"{story.name}:v1")
    story.look(story.second)
    if made["project"]["host_key"] == story.json("show", story.name)["host_key"]:
        raise Broken("both have the same host key")
    return "all the files, and a host key of its own"


def _database(story: Story) -> str:
    story.create(story.database, "--runtime", "postgres")
    story.create(story.stranger, "--runtime", "python")
    _expect(story, story.name, "reached", tries=30)
    _expect(story, story.stranger, "not reached", tries=1)
    return f"{story.name} reaches it by name; a project of another namespace does not"


def _expect(story: Story, name: str, wanted: str, *, tries: int) -> None:
    """A database takes a moment before it listens."""
    said = [story.inside(name, _REACH, story.database).strip()]
    while said[-1] != wanted and len(said) < tries:
        time.sleep(1)
        said.append(story.inside(name, _REACH, story.database).strip())
    if said[-1] != wanted:
        raise Broken(f"from {name}: {story.database} was {said[-1]}")


def _delete(story: Story) -> str:
    story.devbox("delete", story.second, "--yes")
    story.made.remove(story.second)
    story.devbox("show", story.second, status=4)
    story.look(story.name)
    return f"{story.name} is untouched"


STEPS: tuple[tuple[str, Callable[[Story], str]], ...] = (
    ("Create a project from the runtime python", _create),
    ("Run a command in it: devbox ssh NAME -- …", _exec),
    ("Reach it with plain ssh NAME.devbox", _plain_ssh),
    ("Reach it by its address, knowing nothing else", _address_alone),
    ("Work in it", _work),
    ("Stop it: down at once, the save goes on behind", _stop),
    ("Start, stop and wait for the save", _saved),
    ("Start it again", _start),
    ("Stop it, and start it by connecting", _start_by_connecting),
    ("Save it while a session is open", _live_save),
    ("Release it as v1", _release),
    ("Create a second project from that release", _from_release),
    ("Create a database and reach it by name", _database),
    ("Delete the second project", _delete),
)
"""Title and what it does."""
