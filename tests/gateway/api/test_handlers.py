"""The API, called through the client the command line uses; every answer as described."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import structlog.testing

from devbox.edge.api import Api
from devbox.edge.routes import TABLE
from devbox.model import orchestrator as o
from devbox.model.errors import (
    BadInput,
    Conflict,
    DevboxError,
    Forbidden,
    Internal,
    NotFound,
    Unauthorized,
    Unavailable,
)
from devbox.model.grants import Scope
from devbox.model.projects import Desired, ProjectSpec
from gateway.server import Bounds
from tests.support.described import DescribedApi, read_document
from tests.support.gateway import KEY, House, house

NAMES: dict[str, Any] = {"namespace": "team", "name": "hello"}
READS = {"get_project", "list_saves", "list_releases"}
CREATE = o.CreateProject(**NAMES, spec=ProjectSpec(runtime="python"))


@dataclass
class Callers:
    """Clients by what they may."""

    house: House
    admin: DescribedApi
    member: DescribedApi
    stranger: DescribedApi
    by_token: Callable[[str], DescribedApi]


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    async with house() as found:
        document = await read_document(found.url)
        made: list[DescribedApi] = []

        def client(token: str) -> DescribedApi:
            made.append(DescribedApi(found.url, token, document))
            return made[-1]

        yield Callers(
            found,
            client(found.fake.admin_token),
            client(await found.user("ada", "team")),
            client(await found.user("eve", "garden")),
            client,
        )
        for api in made:
            await api.close()


@pytest.mark.smoke
async def test_a_projects_life(callers: Callers) -> None:
    api = callers.member
    created = await api.create_project(CREATE)
    assert (await api.get_project(KEY)).uid == created.project.uid
    assert (await api.list_projects(o.ListProjects())).projects == (created.project,)
    assert (await api.stop_project(KEY)).desired is Desired.STOPPED
    assert (await api.start_project(KEY)).desired is Desired.RUNNING
    spec = ProjectSpec(runtime="python", env={"A": "b"})
    assert (await api.edit_project(o.EditProject(**NAMES, spec=spec))).spec == spec
    asked = await api.ask_save(o.AskSave(**NAMES))
    assert [s.order_id for s in (await api.list_saves(KEY)).saves] == [asked.order_id]
    release = await api.make_release(o.MakeRelease(**NAMES, version="v1", notes="a\nb"))
    assert (await api.list_releases(KEY)).releases == (release,)
    callers.house.fake.set_logs(KEY, "one", "two")
    assert (await api.get_logs(o.AskLogs(**NAMES, lines=1))).lines == ("two",)
    await api.delete_project(KEY)
    with pytest.raises(NotFound):
        await api.get_project(KEY)


async def test_tokens(callers: Callers) -> None:
    api = callers.member
    created = await api.create_project(CREATE)
    more = await api.new_token(o.NewToken(**NAMES, token_name="ci", scopes=(Scope.SSH,)))
    assert len((await api.list_tokens(KEY)).tokens) == 2
    await api.revoke_token(o.RevokeToken(**NAMES, token_id=more.info.id))
    fresh = await api.rotate_tokens(o.RotateTokens(**NAMES))
    assert fresh.token != created.token
    assert [t.id for t in (await api.list_tokens(KEY)).tokens] == [fresh.info.id]


async def test_runtimes_and_users(callers: Callers) -> None:
    api = callers.admin
    assert (await api.build_runtime(o.RuntimeKey(name="python"))).name == "python"
    await api.add_runtime(o.AddRuntime(name="tool", reference="registry.example/tool:1"))
    assert "tool" in {r.name for r in (await api.list_runtimes(o.Nothing())).runtimes}
    await api.remove_runtime(o.RuntimeKey(name="tool"))
    made = await api.make_user(o.MakeUser(name="bob", namespaces=("team", "garden")))
    assert (await callers.by_token(made.token).me()) == made.user
    assert made.user in (await api.list_users(o.Nothing())).users
    await api.delete_user(o.UserKey(name="bob"))
    with pytest.raises(Unauthorized):
        await callers.by_token(made.token).me()


async def test_the_place(callers: Callers) -> None:
    about = await callers.member.about()
    assert (about.cluster, about.region) == ("home", "here")
    assert about.version


async def test_lists_show_what_one_may_see(callers: Callers) -> None:
    await callers.admin.create_project(CREATE)
    elsewhere = o.CreateProject(namespace="garden", name="x", spec=CREATE.spec)
    await callers.admin.create_project(elsewhere)

    async def names(api: Api, *namespaces: str) -> list[str]:
        request = o.ListProjects(namespaces=namespaces or None)
        return [p.name for p in (await api.list_projects(request)).projects]

    assert await names(callers.admin) == ["x", "hello"]
    assert await names(callers.member) == ["hello"]
    assert await names(callers.member, "team") == ["hello"]
    assert await names(callers.admin, "garden", "team") == ["x", "hello"]
    assert (await callers.member.list_projects(o.ListProjects(namespaces=()))).projects == ()
    for asked in (("garden",), ("garden", "team")):
        with pytest.raises(NotFound):
            await names(callers.member, *asked)


async def test_the_disk_is_told_by_what_one_may_see(callers: Callers) -> None:
    await callers.admin.create_project(CREATE)
    await callers.admin.create_project(
        o.CreateProject(namespace="garden", name="x", spec=CREATE.spec)
    )

    async def names(api: Api, *namespaces: str) -> list[str]:
        request = o.AskDisk(namespaces=namespaces or None)
        return [p.name for p in (await api.get_disk(request)).projects]

    assert await names(callers.admin) == ["x", "hello"]
    assert await names(callers.member) == ["hello"]
    with pytest.raises(NotFound):
        await names(callers.member, "garden")


def calls_on_a_project(api: Api) -> dict[str, Awaitable[Any]]:
    return {
        "get_project": api.get_project(KEY),
        "start_project": api.start_project(KEY),
        "list_saves": api.list_saves(KEY),
        "list_releases": api.list_releases(KEY),
        "ask_save": api.ask_save(o.AskSave(**NAMES)),
        "stop_project": api.stop_project(KEY),
        "edit_project": api.edit_project(o.EditProject(**NAMES, spec=CREATE.spec)),
        "get_logs": api.get_logs(o.AskLogs(**NAMES)),
        "make_release": api.make_release(o.MakeRelease(**NAMES, version="v1")),
        "list_tokens": api.list_tokens(KEY),
        "new_token": api.new_token(o.NewToken(**NAMES, token_name="x")),
        "revoke_token": api.revoke_token(o.RevokeToken(**NAMES, token_id="x")),
        "rotate_tokens": api.rotate_tokens(o.RotateTokens(**NAMES)),
        "delete_project": api.delete_project(KEY),
    }


async def outcomes(api: Api) -> dict[str, str]:
    found = {}
    for name, call in calls_on_a_project(api).items():
        try:
            await call
            found[name] = "ok"
        except DevboxError as error:
            found[name] = f"{error.code}: {error.message}"
    return found


async def test_strangers_see_nothing_as_if_there_were_nothing(callers: Callers) -> None:
    before = await outcomes(callers.stranger)
    await callers.admin.create_project(CREATE)
    assert await outcomes(callers.stranger) == before
    assert set(before.values()) == {"not_found: there is no project team/hello"}
    with pytest.raises(NotFound):
        await callers.stranger.create_project(CREATE)
    assert (await callers.admin.get_project(KEY)).desired is Desired.RUNNING


async def test_a_release_of_somebody_else_is_none_to_start_from(callers: Callers) -> None:
    release = o.MakeRelease(**NAMES, version="v1")
    spec = ProjectSpec(runtime="team/hello:v1")
    copy = o.CreateProject(namespace="garden", name="copy", spec=spec)
    said = set()
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            await callers.stranger.create_project(copy)
        said.add((caught.value.message, caught.value.hint))
        if len(said) == 1 and not (await callers.admin.list_projects(o.ListProjects())).projects:
            await callers.admin.create_project(CREATE)
            await callers.admin.make_release(release)
    assert said == {
        ("there is no release team/hello:v1", "`devbox releases PROJECT` shows those there are.")
    }
    await callers.admin.create_project(copy)


@pytest.mark.parametrize("host", ["127.0.0.1:7081", "localhost:7081", "169.254.169.254", "127.1"])
async def test_only_admins_take_images_from_the_servers_own_machine(
    callers: Callers, host: str
) -> None:
    spec = ProjectSpec(runtime=f"image:{host}/projects/another:save-1")
    request = o.CreateProject(**NAMES, spec=spec)
    with pytest.raises(Forbidden, match="are for admins"):
        await callers.member.create_project(request)
    await callers.admin.create_project(request)


async def test_a_save_of_somebody_else_is_none_to_start_from(callers: Callers) -> None:
    spec = ProjectSpec(runtime="team/hello@save-1")
    copy = o.CreateProject(namespace="garden", name="copy", spec=spec)
    await callers.admin.create_project(CREATE)
    await callers.admin.ask_save(o.AskSave(**NAMES))
    with pytest.raises(NotFound) as caught:
        await callers.stranger.create_project(copy)
    assert caught.value.message == "there is no save team/hello@save-1"
    await callers.admin.create_project(copy)


async def test_a_member_hears_the_same_of_a_missing_project(callers: Callers) -> None:
    assert await outcomes(callers.member) == await outcomes(callers.stranger)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (
            (Scope.FULL,),
            {"get_project", "start_project", "list_saves", "list_releases", "ask_save"},
        ),
        ((Scope.SSH,), {"get_project", "start_project", "list_saves", "list_releases"}),
    ],
)
async def test_what_a_projects_token_may(
    callers: Callers, scopes: tuple[Scope, ...], allowed: set[str]
) -> None:
    await callers.admin.create_project(CREATE)
    secret = await callers.admin.new_token(o.NewToken(**NAMES, token_name="x", scopes=scopes))
    found = await outcomes(callers.by_token(secret.token))
    assert {name for name, how in found.items() if how == "ok"} == allowed
    assert {how.split(":")[0] for how in found.values()} == {"ok", "forbidden"}


async def test_a_projects_token_is_nothing_elsewhere(callers: Callers) -> None:
    secret = await callers.admin.create_project(CREATE)
    other = o.ProjectKey(namespace="team", name="other")
    await callers.admin.create_project(
        o.CreateProject(namespace="team", name="other", spec=CREATE.spec)
    )
    api = callers.by_token(secret.token)
    for call in (api.get_project(other), api.me(), api.list_projects(o.ListProjects())):
        with pytest.raises(Unauthorized):
            await call


async def test_only_admins_change_users_and_runtimes(callers: Callers) -> None:
    api = callers.member
    for call in (
        api.list_users(o.Nothing()),
        api.make_user(o.MakeUser(name="mine", admin=True, namespaces=("team",))),
        api.delete_user(o.UserKey(name="eve")),
        api.add_runtime(o.AddRuntime(name="tool", reference="x")),
        api.remove_runtime(o.RuntimeKey(name="python")),
    ):
        with pytest.raises(Forbidden):
            await call


@pytest.mark.parametrize("token", ["", "0" * 32, "Ä", "a b"])
async def test_without_a_good_credential_nothing_is_told(callers: Callers, token: str) -> None:
    api = callers.by_token(token)
    found = set((await outcomes(api)).values())
    for call in (
        api.me(),
        api.about(),
        api.list_runtimes(o.Nothing()),
        api.list_users(o.Nothing()),
    ):
        with pytest.raises(Unauthorized) as caught:
            await call
        found.add(f"unauthorized: {caught.value.message}")
    assert len(found) == 1


async def test_errors_arrive_as_they_were(callers: Callers) -> None:
    await callers.member.create_project(CREATE)
    with pytest.raises(Conflict, match="already"):
        await callers.member.create_project(CREATE)
    with pytest.raises(BadInput):
        await callers.member.create_project(
            o.CreateProject(namespace="team", name="Bad/name", spec=CREATE.spec)
        )
    with pytest.raises(NotFound, match="cobol"):
        await callers.member.create_project(
            o.CreateProject(namespace="team", name="x", spec=ProjectSpec(runtime="cobol"))
        )
    with pytest.raises(NotFound, match="token nope"):
        await callers.member.revoke_token(o.RevokeToken(**NAMES, token_id="nope"))


async def test_what_breaks_is_our_fault_and_told_so(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(callers.house.fake, "list_runtimes", broken)
    with pytest.raises(Internal) as caught:
        await callers.member.list_runtimes(o.Nothing())
    assert "secret detail" not in caught.value.message


@pytest.mark.parametrize(
    ("method", "path", "body", "word"),
    [
        (
            "POST",
            "/namespaces/team/projects",
            b'{"name":"x","spec":{"runtime":"python"},"boo":1}',
            "boo",
        ),
        ("POST", "/namespaces/team/projects", b'{"name":"x"}', "spec"),
        ("POST", "/namespaces/team/projects", b"{", "malformed"),
        ("POST", "/namespaces/team/projects", b'{"name":"x","spec":{"runtime":1}}', "runtime"),
        ("POST", "/namespaces/team/projects/x/start", b'{"now":true}', "now"),
        ("POST", "/namespaces/team/projects/x/start?now=1", b"", "query"),
        ("GET", "/projects?color=red", b"", "color"),
        ("GET", "/namespaces/team/projects/x/logs?lines=many", b"", "lines"),
        ("GET", "/me", b"{}", "body"),
        ("PUT", "/me", b"", "PUT"),
    ],
)
async def test_bad_requests_name_what_is_wrong(
    callers: Callers, method: str, path: str, body: bytes, word: str
) -> None:
    headers = {"Authorization": f"Bearer {callers.house.fake.admin_token}"}
    url = f"{callers.house.url}/api/v1{path}"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.request(method, url, data=body) as answer,
    ):
        told = await answer.json()
        assert answer.status == 400
        assert word in told["message"]


async def test_a_body_too_large_is_refused(callers: Callers) -> None:
    headers = {"Authorization": f"Bearer {callers.house.fake.admin_token}"}
    url = f"{callers.house.url}/api/v1/runtimes"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, data=io.BytesIO(b"x" * (2 << 20))) as answer,
    ):
        assert answer.status == 400


async def test_every_route_was_described_as_it_answers(callers: Callers) -> None:
    """The table's operations are all methods of the client, and the client's of the table."""
    own = {"about", "me", "list_namespace"}
    operations = {route.operation for route in TABLE} - own
    assert operations <= set(dir(Api))
    missing = {name for name in dir(o.Orchestrator) if not name.startswith("_")} - operations
    assert missing == {"check_token", "check_user", "watch"}


async def test_wrong_credentials_are_counted_here_too() -> None:
    async with house(bounds=Bounds(failures_per_minute=2)) as strict:
        async with Api(strict.url, "0" * 32) as api:
            for _ in range(2):
                with pytest.raises(Unauthorized):
                    await api.me()
        async with Api(strict.url, strict.fake.admin_token) as api:
            with pytest.raises(Unavailable, match="too many"):
                await api.me()


async def test_no_token_reaches_a_log_line(
    callers: Callers, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_house = callers.house
    token = (await fake_house.project()).token
    user = await fake_house.user("ida", "team")
    with structlog.testing.capture_logs() as lines:
        for path in (f"/home/here/team/hello/{token}", f"/{token}", f"/a/{token}/c/d/e", "/a b"):
            for line in (f"GET {path} HTTP/1.1", f"G\x01ET {path} HTTP/1.1", f"GET {path}"):
                await _say(fake_house, f"{line}\r\nHost: x\r\nAuthorization: Bearer {user}\r\n\r\n")
        async with await fake_house.dial(f"/home/here/team/hello/{token}") as client:
            await client.head()
        async with await fake_house.dial("/home/here/team/hello", user) as client:
            await client.head()
        await _say(fake_house, f"GET /?t={token} HTTP/1.1\r\nHost: x\r\nX: {user}\r\n\r\n")
    told = repr(lines) + caplog.text + "".join(capsys.readouterr())
    assert "link_opened" in told
    assert "request" in told
    assert token not in told
    assert user not in told


async def _say(house_: House, text: str) -> None:
    reader, writer = await asyncio.open_connection(house_.host, house_.port)
    writer.write(text.encode())
    writer.write_eof()
    await reader.read()
    writer.close()
