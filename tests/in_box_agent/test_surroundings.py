"""A person's process finds its user, environment and shell, whatever the image holds."""

import pytest

from devbox.model.nodes import StartRecord
from devbox.model.projects import ImageConfig
from in_box_agent.surroundings import Account, Surroundings, environment, parse_account, pick_shell

PASSWD = """root:x:0:0:root:/root:/bin/bash
bad line
devbox:x:1000:1000:,,,:/home/devbox:/usr/bin/zsh
redis:x:999:999::/var/lib/redis:/usr/sbin/nologin
"""


def record(env: dict[str, str], image: tuple[str, ...] = ()) -> StartRecord:
    return StartRecord(
        project_uid="p1",
        cluster="c",
        region="r",
        namespace="team",
        project="shop",
        generation=1,
        host_key="",
        grant_keys=(),
        config=ImageConfig(env=image),
        env=env,
        run_image_command=False,
    )


@pytest.mark.parametrize(
    ("uid", "account"),
    [
        (1000, Account(1000, "devbox", "/home/devbox", "/usr/bin/zsh")),
        (0, Account(0, "root", "/root", "/bin/bash")),
        (77, Account(77, "uid77", "/", "")),
    ],
)
def test_account(uid: int, account: Account) -> None:
    assert parse_account(PASSWD, uid) == account


def test_root_needs_no_passwd() -> None:
    assert parse_account("", 0) == Account(0, "root", "/root", "")


@pytest.mark.parametrize(
    ("shell", "there", "picked"),
    [
        ("/usr/bin/zsh", {"/usr/bin/zsh", "/bin/sh"}, "/usr/bin/zsh"),
        ("/usr/bin/zsh", {"/bin/sh"}, "/bin/sh"),
        ("/usr/sbin/nologin", {"/usr/sbin/nologin", "/bin/bash", "/bin/sh"}, "/bin/bash"),
        ("", set(), "/.devbox/tools/sh"),
    ],
)
def test_shell(shell: str, there: set[str], picked: str) -> None:
    assert pick_shell(Account(1, "a", "/", shell), there.__contains__) == picked


def test_the_projects_environment_wins() -> None:
    account = Account(1000, "devbox", "/home/devbox", "")
    got = environment(
        record({"A": "project", "LANG": "de_DE.UTF-8"}, ("A=image", "B=x=y", "PATH=/opt/bin")),
        {"A": "runtime", "HOME": "/wrong"},
        account,
        "/bin/bash",
    )
    assert got == {
        "A": "project",
        "B": "x=y",
        "PATH": "/opt/bin",
        "HOME": "/home/devbox",
        "USER": "devbox",
        "LOGNAME": "devbox",
        "SHELL": "/bin/bash",
        "LANG": "de_DE.UTF-8",
        "DEVBOX_PROJECT": "team/shop",
    }


def test_the_images_home_stays() -> None:
    account = Account(0, "root", "/root", "")
    assert environment(record({}, ("HOME=/work",)), {}, account, "/bin/sh")["HOME"] == "/work"


def test_the_bundles_tools_come_last_and_only_without_a_shell() -> None:
    account = Account(0, "root", "/root", "")
    with_shell = environment(record({}), {}, account, "/bin/sh")
    without = environment(record({}), {}, account, "/.devbox/tools/sh")
    assert "/.devbox" not in with_shell["PATH"]
    assert without["PATH"] == with_shell["PATH"] + ":/.devbox/tools"


@pytest.mark.parametrize(
    ("path", "shell", "argv"),
    [
        ("/usr/local/bin:/usr/bin:/bin", "/bin/bash", "-bash"),
        ("/usr/bin:/bin:/.devbox/tools", "/.devbox/tools/sh", "-sh"),
        ("/usr/local/go/bin:/usr/bin:/bin", "/bin/bash", "bash"),
    ],
)
def test_no_login_shell_where_it_would_lose_the_images_path(
    path: str, shell: str, argv: str
) -> None:
    account = Account(0, "root", "/root", shell)
    around = Surroundings(account, {"PATH": path}, "/", shell, "/tmp/a.sock")
    assert around.shell_argv == [argv]
    assert around.command_argv("x y") == [argv.removeprefix("-"), "-c", "x y"]
