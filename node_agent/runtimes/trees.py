"""Builds file trees from Debian packages with mmdebstrap, chroot and overlayfs, without Docker.

Owns the commands and their progress. Every mount is made in a mount namespace of its own, so that
none is left whatever ends first.
"""

import asyncio
import hashlib
import os
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from devbox.model.errors import Unavailable
from node_agent.runtimes.recipes import BASE_PACKAGES, Recipe

Told = Callable[[float, str], None]
"""(part done, 0 to 1; what is done now)."""

_BUILD_S = 1800.0
_APT = Path("/etc/apt")
_TAIL = 12
_QUIET_APT = "-o Dpkg::Use-Pty=0 -o Acquire::Retries=3"

_SET_UP = """
set -e
useradd --create-home --uid 1000 --shell /bin/bash devbox
printf 'devbox ALL=(ALL) NOPASSWD:ALL\\n' >/etc/sudoers.d/devbox
chmod 440 /etc/sudoers.d/devbox
install -d -o devbox -g devbox -m 755 /project
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
: >/etc/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
"""

_ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
[ -e "$ROOT/etc/resolv.conf" ] || touch "$ROOT/etc/resolv.conf"
mount --bind /etc/resolv.conf "$ROOT/etc/resolv.conf"
exec chroot "$ROOT" /bin/sh -c "$SCRIPT"
"""

_INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get {quiet} update -qq
apt-get {quiet} install -y -qq --no-install-recommends -o APT::Status-Fd=3 {packages}
"""

_TIDY = """
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb \
  /var/log/*.log /var/log/apt /var/cache/ldconfig/aux-cache
"""


def sources() -> str:
    """A name for the machine's apt sources: other sources make other images."""
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def _source_files() -> list[str]:
    listed = [_APT / "sources.list"]
    listed += sorted((_APT / "sources.list.d").glob("*.sources"))
    listed += sorted((_APT / "sources.list.d").glob("*.list"))
    return [str(path) for path in listed if path.is_file() and path.stat().st_size]


async def base_tree(directory: Path, told: Told) -> Path:
    """The tree that all runtimes stand on, made once below `directory`, named by its inputs."""
    tree = directory / base_name()
    if tree.is_dir():
        return tree
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=directory))
    told(0.05, "installing Debian")
    try:
        await _run(
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(BASE_PACKAGES)}",
            "--aptopt=Acquire::Retries 3",
            f'--customize-hook=chroot "$1" /bin/sh -c {shlex.quote(_SET_UP)}',
            "bookworm",
            str(unfinished),
            *_source_files(),
        )
        await asyncio.to_thread(_finish, unfinished)
        unfinished.rename(tree)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
        raise
    return tree


def _finish(tree: Path) -> None:
    """Take what the machine's apt needs to reach its sources: proxies, retries, checks of dates."""
    tree.chmod(0o755)
    for path in (_APT / "apt.conf.d").glob("*"):
        if b"Acquire::" in path.read_bytes():
            shutil.copy2(path, tree / "etc/apt/apt.conf.d" / path.name)
    for name in ("resolv.conf", "hostname"):
        (tree / "etc" / name).unlink(missing_ok=True)


def base_name() -> str:
    """Names what the tree is made of."""
    inputs = "\n".join((sources(), _SET_UP, *BASE_PACKAGES))
    return f"base-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"


@asynccontextmanager
async def changed_tree(base: Path, recipe: Recipe, told: Told) -> AsyncIterator[Path]:
    """The recipe's changes on the base, as an overlayfs upper directory, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="runtime-", dir=base.parent) as name:
        place = Path(name)
        for part in ("upper", "work", "root"):
            (place / part).mkdir(mode=0o755)
        shutil.copystat(base, place / "upper")
        await _install(base, place, recipe, told)
        await asyncio.to_thread(_clean, place / "upper")
        yield place / "upper"


def _script(recipe: Recipe) -> str:
    script = ["set -e"]
    if recipe.packages:
        packages = " ".join(shlex.quote(package) for package in recipe.packages)
        script.append(_INSTALL.format(quiet=_QUIET_APT, packages=packages))
    for path, text in recipe.files.items():
        mode = "755" if text.startswith("#!") else "644"
        script.append(f"printf %s {shlex.quote(text)} >{shlex.quote(path)}")
        script.append(f"chmod {mode} {shlex.quote(path)}")
    return "\n".join([*script, *recipe.prepare, _TIDY])


async def _install(base: Path, place: Path, recipe: Recipe, told: Told) -> None:
    env = {
        "LOWER": str(base),
        "UPPER": str(place / "upper"),
        "WORK": str(place / "work"),
        "ROOT": str(place / "root"),
        "SCRIPT": _script(recipe),
    }
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    await _run(*alone, "sh", "-c", _ENTER, env=env, told=told)


def _clean(upper: Path) -> None:
    """Take away the stubs of the build's own mounts."""
    stub = upper / "etc/resolv.conf"
    if stub.is_file() and not stub.stat().st_size:
        stub.unlink()


async def _run(*command: str, env: dict[str, str] | None = None, told: Told | None = None) -> None:
    """Run a build command. Raises Unavailable with its last lines."""
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f'exec 3>&{writing}; exec "$@"',
            "build",
            *command,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(writing,),
        )
    finally:
        os.close(writing)
    try:
        async with asyncio.timeout(_BUILD_S):
            tail, _ = await asyncio.gather(_last_lines(process), _follow(reading, told))
            status = await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if status:
        raise Unavailable(
            f"{command[0]} failed ({status}): {tail}",
            "Nothing was changed. Check that the machine's apt sources answer, then try again.",
        )


async def _last_lines(process: asyncio.subprocess.Process) -> str:
    lines: list[str] = []
    if process.stdout is not None:
        async for line in process.stdout:
            lines = [*lines[1 - _TAIL :], line.decode(errors="replace").strip()]
    return " | ".join(line for line in lines if line)


async def _follow(reading: int, told: Told | None) -> None:
    """Read apt's status lines until the command closes them."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    try:
        async for line in reader:
            step = apt_status(line.decode(errors="replace"))
            if told is not None and step is not None:
                told(*step)
    finally:
        transport.close()


def apt_status(line: str) -> tuple[float, str] | None:
    """A line of apt's status (`kind:what:percent:words`) as progress of the whole build."""
    parts = line.strip().split(":", 3)
    if len(parts) != len(("kind", "what", "percent", "words")):
        return None
    try:
        part = float(parts[2]) / 100
    except ValueError:
        return None
    if parts[0] == "dlstatus":
        return 0.3 + part * 0.2, "downloading packages"
    if parts[0] == "pmstatus":
        return 0.5 + part * 0.35, parts[3]
    return None
