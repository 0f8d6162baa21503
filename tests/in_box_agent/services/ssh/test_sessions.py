"""Shells and commands with the real OpenSSH client."""

import asyncio
import hashlib
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import asyncssh
import pytest

from tests.support.box import wait_for
from tests.support.ssh import Door

pytestmark = pytest.mark.root


@pytest.mark.smoke
def test_status_and_separate_streams(box: Door) -> None:
    done = box.run("echo to-out; echo to-err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"to-out\n", b"to-err\n")


def test_the_shell_is_a_login_shell_and_keeps_its_state(box: Door) -> None:
    done = box.run(
        stdin=b"shopt -q login_shell && echo login\ncd /tmp\nX=5\npwd; echo $X\nexit 4\n"
    )
    assert (done.returncode, done.stdout) == (4, b"login\n/tmp\n5\n")


def test_who_and_where(box: Door) -> None:
    got = box.out("id -un; pwd; echo $HOME $USER $SHELL $FROM_PROJECT $LANG $DEVBOX_PROJECT")
    assert got == "devbox\n/project\n/home/devbox devbox /bin/bash yes C.UTF-8 team/shop\n"


def test_nothing_of_the_bundle_leaks(box: Door) -> None:
    env = box.out("env")
    assert "LD_LIBRARY_PATH" not in env
    assert "PYTHON" not in env
    assert [line for line in env.splitlines() if "/.devbox" in line] == [
        "SSH_AUTH_SOCK=/.devbox/box/ssh-agent.sock"
    ]
    assert set(box.out("ls /proc/self/fd").split()) == {"0", "1", "2", "3"}
    assert "SigIgn:\t0000000000000000" in box.out("cat /proc/self/status")
    assert "SigBlk:\t0000000000000000" in box.out("cat /proc/self/status")


def test_the_clients_environment(box: Door) -> None:
    done = box.run("-o", "SetEnv=FROM_CLIENT=hello", "box", "echo $FROM_CLIENT; env | grep ^SSH_")
    assert done.stdout.startswith(b"hello\n")
    assert b"SSH_CONNECTION=" in done.stdout


def test_a_signal_ends_like_a_signal(box: Door) -> None:
    assert box.run("kill -TERM $$").returncode == 255
    done = box.run("-v", "-o", "LogLevel=VERBOSE", "box", "kill -KILL $$")
    assert b"exit-signal" in done.stderr or done.returncode == 255


@pytest.mark.parametrize("user", ["root", "nobody", "x y"])
def test_any_user_name_is_the_boxes_user(box: Door, user: str) -> None:
    assert box.run("-l", user, "box", "id -u").stdout == b"1000\n"


def test_every_method_offered_first_is_taken(box: Door) -> None:
    for method in ("password", "publickey", "keyboard-interactive"):
        done = box.run("-o", f"PreferredAuthentications={method}", "box", "echo in")
        assert done.stdout == b"in\n"


def test_a_command_that_does_not_exist(box: Door) -> None:
    done = box.run("no-such-command")
    assert done.returncode == 127
    assert b"no-such-command" in done.stderr


def test_half_close_and_bulk(box: Door) -> None:
    data = os.urandom(20 << 20)
    done = box.run("cat; echo over >&2", stdin=data)
    assert done.stdout == data
    assert done.stderr == b"over\n"


def test_rekeying_in_the_middle(box: Door) -> None:
    data = os.urandom(6 << 20)
    done = box.run("-v", "-o", "LogLevel=DEBUG1", "-o", "RekeyLimit=1M", "box", "cat", stdin=data)
    assert done.stdout == data
    assert done.stderr.count(b"SSH2_MSG_NEWKEYS received") > 3


def test_keepalives_of_the_client_are_answered(box: Door) -> None:
    done = box.run("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "box", "sleep 2.5")
    assert done.returncode == 0


def test_a_reader_that_stops_early(box: Door) -> None:
    done = box.run("head -c 5", stdin=bytes(8 << 20))
    assert (done.returncode, done.stdout) == (0, bytes(5))


def test_output_after_the_main_process_is_awaited(box: Door) -> None:
    assert box.out("(sleep 0.2; echo late) & exit 0") == "late\n"


def test_a_terminal(box: Door) -> None:
    ours, theirs = pty.openpty()
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        shell = subprocess.Popen(
            box.ssh("-tt", "box"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.write(ours, b"stty size; echo $TERM; tty; ps -o tty= -p $$\n")
        said = read_until(ours, rb"33 101\r\n.*pts/\d+\r\n.*pts/\d+\s*\r\n")
        assert os.environ.get("TERM", "dumb").encode() in said
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 55, 0, 0))
        shell.send_signal(signal.SIGWINCH)
        os.write(ours, b"sleep 0.1; stty size\n")
        read_until(ours, rb"44 55\r\n")
        os.write(ours, b"sleep 100\n")
        wait_for(lambda: box.box.processes("sleep 100"), "the process")
        os.write(ours, b"\x03")
        read_until(ours, rb"\^C.*\$ $")
        os.write(ours, b"echo status $?\n")
        read_until(ours, rb"status 130\r\n.*\$ $")
        os.write(ours, b"exit 6\n")
        assert shell.wait(10) == 6
    finally:
        os.close(ours)
        os.close(theirs)


def read_until(fd: int, pattern: bytes) -> bytes:
    """Read a terminal until it has said this."""
    said = b""
    while not re.search(pattern, said, re.DOTALL):
        said += os.read(fd, 65536)
    return said


def test_a_process_does_not_outlive_its_client(box: Door) -> None:
    client = subprocess.Popen(box.ssh("box", "sleep 987"), stdin=subprocess.PIPE)
    wait_for(lambda: box.box.processes("sleep 987"), "the process")
    client.kill()
    client.communicate()
    wait_for(lambda: not box.box.processes("sleep 987"), "its end")


def test_nohup_and_what_is_left_behind_live_on(box: Door) -> None:
    box.out("nohup sleep 986 >/dev/null 2>&1 & exit 0")
    box.out("sleep 985 >/dev/null 2>&1 </dev/null & exit 0")
    try:
        assert box.box.processes("sleep 986")
        assert box.box.processes("sleep 985")
    finally:
        box.run("pkill -f 'sleep 98[56]'")


@pytest.mark.parametrize("old", [False, True])
def test_scp_both_ways(box: Door, tmp_path: Path, old: bool) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "up").write_bytes(data)
    scp = ["scp", "-q", "-p", *(["-O"] if old else []), "-F", str(box.config)]
    subprocess.run([*scp, tmp_path / "up", "box:copied"], check=True, timeout=30)
    assert box.out("sha256sum ~/copied").split()[0] == hashlib.sha256(data).hexdigest()
    subprocess.run([*scp, "box:copied", tmp_path / "down"], check=True, timeout=30)
    assert (tmp_path / "down").read_bytes() == data


def test_scp_of_trees_and_homes(box: Door, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/with space").write_text("x")
    scp = ["scp", "-q", "-r", "-F", str(box.config)]
    subprocess.run([*scp, tmp_path / "tree", "box:~/"], check=True, timeout=30)
    assert box.out("cat ~/tree/sub/with*") == "x"


def test_sftp_with_openssh_extensions(box: Door, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("content")
    script = f"""pwd
put {tmp_path}/f one
rename one two
ln two hard
symlink two soft
chmod 600 two
df
mkdir d
ls -l
get soft {tmp_path}/back
rm hard
rmdir d
"""
    command = ["sftp", "-F", str(box.config), "-b", "-", "box"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
    assert "Remote working directory: /home/devbox\n" in done.stdout
    assert re.search(r"-rw------- +. devbox +devbox +7 .* two\n", done.stdout)
    assert (tmp_path / "back").read_text() == "content"
    assert box.out("cd; readlink soft; rm two soft") == "two\n"


EXTENSIONS = {
    b"posix-rename@openssh.com",
    b"statvfs@openssh.com",
    b"fstatvfs@openssh.com",
    b"hardlink@openssh.com",
    b"fsync@openssh.com",
    b"lsetstat@openssh.com",
    b"limits@openssh.com",
    b"copy-data",
}


def test_sftp_tells_of_its_extensions(box: Door) -> None:
    """VERSION (draft-ietf-secsh-filexfer-02, 4): the number, then names and data in pairs."""
    command = box.ssh("-s", "box", "sftp")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"\0\0\0\5\1\0\0\0\3")
        client.stdin.flush()
        answer = client.stdout.read(int.from_bytes(client.stdout.read(4), "big"))
        client.stdin.close()
        assert client.wait(30) == 0
    assert answer[:5] == b"\2\0\0\0\3"
    rest, strings = answer[5:], []
    while rest:
        size = 4 + int.from_bytes(rest[:4], "big")
        strings.append(rest[4:size])
        rest = rest[size:]
    assert set(strings[::2]) >= EXTENSIONS, strings


def test_sftp_extensions_do_what_they_say(box: Door, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("new")
    script = f"""put -f {tmp_path}/f ext-one
put {tmp_path}/f ext-two
rename ext-one ext-two
copy ext-two ext-three
ln ext-three ext-four
chmod -h 600 ext-four
df -h
"""
    command = ["sftp", "-F", str(box.config), "-b", "-", "box"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
    assert "%Capacity" in done.stdout
    got = box.out("cd; cat ext-*; echo; stat -c '%n %h %a' ext-*; rm ext-*")
    assert got == "newnewnew\next-four 2 600\next-three 2 600\next-two 1 644\n"


async def test_signals_of_the_client_reach_the_process(box: Door) -> None:
    """OpenSSH sends none; Java clients and asyncssh do."""
    client = await asyncssh.connect(
        "box", proxy_command=box.join("ssh"), known_hosts=None, username="any", config=None
    )
    async with client, asyncio.timeout(30):
        script = "trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.05; done"
        process = await client.create_process(script)
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("USR1")
        done = await process.wait()
        assert (done.stdout, done.exit_status) == ("got it\n", 5)
        process = await client.create_process("echo ready; exec sleep 100")
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("TERM")
        done = await process.wait()
        assert done.exit_signal is not None
        assert done.exit_signal[0] == "TERM"


def test_rsync_both_ways(box: Door, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    for number in range(50):
        (source / f"deep/{number}").write_bytes(os.urandom(1000))
    rsync = ["rsync", "-a", "--delete", "-e", f"ssh -F {box.config}"]
    subprocess.run([*rsync, f"{source}/", "box:synced/"], check=True, timeout=30)
    subprocess.run([*rsync, "box:synced/", f"{tmp_path}/back/"], check=True, timeout=30)
    for file in source.rglob("*"):
        if file.is_file():
            assert (tmp_path / "back" / file.relative_to(source)).read_bytes() == file.read_bytes()


def test_the_host_key_is_the_projects(box: Door) -> None:
    (box.place / "wrong").write_text("")
    done = box.run("-o", f"UserKnownHostsFile={box.place}/wrong", "box", "echo in")
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_a_hundred_channels_in_one_connection(box: Door) -> None:
    control = f"{box.place}/m"
    options = ["-o", f"ControlPath={control}"]
    master = subprocess.Popen(box.ssh(*options, "-M", "-N", "box"))
    try:
        wait_for(lambda: os.path.exists(control), "the master")
        command = box.ssh(*options, "box", "read line; echo got $line")
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(100)
        ]
        wait_for(lambda: len(box.box.processes("read line")) == 100, "all of them at once")
        for number, client in enumerate(clients):
            out, _ = client.communicate(f"{number}\n".encode(), timeout=30)
            assert out == f"got {number}\n".encode()
    finally:
        subprocess.run(box.ssh(*options, "-O", "exit", "box"), capture_output=True)
        master.wait(10)
