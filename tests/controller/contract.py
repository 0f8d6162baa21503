"""What every Orchestrator must do: the fake, the embedded one, the one on Kubernetes.

A test module of an implementation makes a subclass of `OrchestratorContract` and a fixture
`orchestrator`. Its node side must work by itself in the background: boxes start, saves get
recorded, deleted projects go. The runtimes `python` and `postgres` must be known, and images
must be there without waiting for minutes.

What is asked of revisions: revision 0 is always too old, so `Watch(revision=0)` answers at once
with `complete` false and the revision to begin from.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from devbox.model import orchestrator as o
from devbox.model.errors import BadInput, Conflict, NotFound, Unauthorized
from devbox.model.grants import Scope
from devbox.model.projects import Desired, Phase, Port, Project, ProjectSpec
from devbox.model.saves import Save, SaveReason, SaveStep
from devbox.model.tokens import check_token, token_hash

KEY = o.ProjectKey(namespace="team", name="hello")
_PATIENCE_S = 30.0


async def create(
    orchestrator: o.Orchestrator, key: o.ProjectKey = KEY, *, start: bool = False, **spec: Any
) -> o.CreatedProject:
    """Make a project of `key`."""
    wanted = ProjectSpec(**{"runtime": "python", **spec})
    request = o.CreateProject(namespace=key.namespace, name=key.name, spec=wanted, start=start)
    return await orchestrator.create_project(request)


def news_after(seen: Project) -> o.AskNews:
    """Ask for what is newer than what was seen."""
    return o.AskNews(
        namespace=seen.namespace,
        name=seen.name,
        phase=seen.status.phase,
        message=seen.status.message,
        generation=seen.generation,
        wait_s=_PATIENCE_S / 2,
    )


async def check(
    orchestrator: o.Orchestrator, token: str, key: o.ProjectKey = KEY
) -> o.CheckedToken:
    """Validate a project token."""
    request = o.CheckToken(namespace=key.namespace, name=key.name, token_hash=token_hash(token))
    return await orchestrator.check_token(request)


async def begin(orchestrator: o.Orchestrator) -> int:
    """The revision to watch from."""
    return (await orchestrator.watch(o.Watch(revision=0, wait_s=0.0))).revision


async def until(orchestrator: o.Orchestrator, done: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again after each change until the answer is true; give it."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            revision = await begin(orchestrator)
            if answer := await done():
                return answer
            await orchestrator.watch(o.Watch(revision=revision, wait_s=0.2))


async def until_phase(
    orchestrator: o.Orchestrator, phase: Phase, key: o.ProjectKey = KEY
) -> Project:
    """Wait for a phase."""

    async def seen() -> Project | None:
        project = await orchestrator.get_project(key)
        return project if project.status.phase is phase else None

    found: Project = await until(orchestrator, seen)
    return found


async def until_gone(orchestrator: o.Orchestrator, key: o.ProjectKey = KEY) -> None:
    """Wait until a project is deleted."""

    async def gone() -> bool:
        try:
            await orchestrator.get_project(key)
        except NotFound:
            return True
        return False

    await until(orchestrator, gone)


async def until_recorded(orchestrator: o.Orchestrator, order_id: str) -> Save:
    """Wait for the save that carries out an order."""

    async def recorded() -> Save | None:
        saves = (await orchestrator.list_saves(KEY)).saves
        mine = [save for save in saves if save.order_id == order_id]
        return mine[0] if mine and mine[0].step is SaveStep.RECORDED else None

    found: Save = await until(orchestrator, recorded)
    return found


class OrchestratorContract:
    """The suite. Subclass it where there is a fixture `orchestrator`."""

    # Projects

    async def test_a_created_project_can_be_got_and_listed(
        self, orchestrator: o.Orchestrator
    ) -> None:
        created = await create(orchestrator, autosave_minutes=3)
        project = created.project
        assert (project.namespace, project.name) == ("team", "hello")
        assert project.desired is Desired.STOPPED
        assert project.spec.autosave_minutes == 3
        assert project.host_key.startswith("ssh-")
        assert (await orchestrator.get_project(KEY)).uid == project.uid
        check_token(created.token)

    async def test_projects_are_listed_in_order_and_by_namespace(
        self, orchestrator: o.Orchestrator
    ) -> None:
        for namespace, name in (("team", "b"), ("other", "c"), ("team", "a")):
            await create(orchestrator, o.ProjectKey(namespace=namespace, name=name))
        everything = await orchestrator.list_projects(o.ListProjects())
        assert [(p.namespace, p.name) for p in everything.projects] == [
            ("other", "c"),
            ("team", "a"),
            ("team", "b"),
        ]
        some = await orchestrator.list_projects(o.ListProjects(namespaces=("other", "none")))
        assert [p.name for p in some.projects] == ["c"]
        none = await orchestrator.list_projects(o.ListProjects(namespaces=()))
        assert none.projects == ()

    async def test_a_taken_name_conflicts_and_changes_nothing(
        self, orchestrator: o.Orchestrator
    ) -> None:
        created = await create(orchestrator)
        with pytest.raises(Conflict):
            await create(orchestrator)
        assert (await orchestrator.get_project(KEY)).uid == created.project.uid
        await check(orchestrator, created.token)

    @pytest.mark.parametrize("bad", ["", "A", "a_b", "-a", "a/b", "a" * 64, "ü"])
    async def test_bad_names_are_refused(self, orchestrator: o.Orchestrator, bad: str) -> None:
        for namespace, name in ((bad, "hello"), ("team", bad)):
            with pytest.raises(BadInput):
                await create(orchestrator, o.ProjectKey(namespace=namespace, name=name))
        assert (await orchestrator.list_projects(o.ListProjects())).projects == ()

    @pytest.mark.parametrize("runtime", ["cobol", "nobody:v1", "other/nobody:v1"])
    async def test_an_unknown_runtime_is_not_found(
        self, orchestrator: o.Orchestrator, runtime: str
    ) -> None:
        with pytest.raises(NotFound):
            await create(orchestrator, runtime=runtime)

    async def test_what_does_not_exist_is_not_found(self, orchestrator: o.Orchestrator) -> None:
        names: dict[str, Any] = {"namespace": "team", "name": "hello"}
        calls: list[Awaitable[Any]] = [
            orchestrator.get_project(KEY),
            orchestrator.start_project(KEY),
            orchestrator.stop_project(KEY),
            orchestrator.delete_project(KEY),
            orchestrator.list_saves(KEY),
            orchestrator.list_releases(KEY),
            orchestrator.list_tokens(KEY),
            orchestrator.ask_save(o.AskSave(**names)),
            orchestrator.make_release(o.MakeRelease(**names, version="v1")),
            orchestrator.new_token(o.NewToken(**names, token_name="x")),
            orchestrator.rotate_tokens(o.RotateTokens(**names)),
            orchestrator.revoke_token(o.RevokeToken(**names, token_id="x")),
            orchestrator.edit_project(o.EditProject(**names, spec=ProjectSpec(runtime="python"))),
            orchestrator.get_logs(o.AskLogs(**names)),
            orchestrator.delete_user(o.UserKey(name="nobody")),
            orchestrator.build_runtime(o.RuntimeKey(name="cobol")),
            orchestrator.remove_runtime(o.RuntimeKey(name="cobol")),
        ]
        for call in calls:
            with pytest.raises(NotFound):
                await call

    async def test_start_stop_start(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        assert (await orchestrator.start_project(KEY)).desired is Desired.RUNNING
        first = await until_phase(orchestrator, Phase.RUNNING)
        assert first.status.box_ip
        assert first.generation >= 1
        again = await orchestrator.start_project(KEY)
        assert again.generation == first.generation
        assert (await orchestrator.stop_project(KEY)).desired is Desired.STOPPED
        stopped = await until_phase(orchestrator, Phase.STOPPED)
        assert stopped.status.box_ip == ""
        await orchestrator.start_project(KEY)
        second = await until_phase(orchestrator, Phase.RUNNING)
        assert second.generation > first.generation
        assert (second.uid, second.host_key) == (first.uid, first.host_key)

    async def test_create_starts_when_asked(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator, start=True)
        assert created.project.desired is Desired.RUNNING
        await until_phase(orchestrator, Phase.RUNNING)

    async def test_edit_changes_all_but_the_runtime(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        spec = ProjectSpec(runtime="python", ports=(Port(port=80),), env={"A": "b"})
        request = o.EditProject(namespace="team", name="hello", spec=spec)
        assert (await orchestrator.edit_project(request)).spec == spec
        assert (await orchestrator.get_project(KEY)).spec == spec
        other = msgspec.structs.replace(request, spec=ProjectSpec(runtime="postgres"))
        with pytest.raises(BadInput):
            await orchestrator.edit_project(other)
        assert (await orchestrator.get_project(KEY)).spec == spec

    async def test_a_deleted_project_goes_and_its_name_is_free(
        self, orchestrator: o.Orchestrator
    ) -> None:
        old = await create(orchestrator, start=True)
        other = o.ProjectKey(namespace="team", name="other")
        await create(orchestrator, other)
        await orchestrator.delete_project(KEY)
        with pytest.raises(Unauthorized):
            await check(orchestrator, old.token)
        await until_gone(orchestrator)
        new = await create(orchestrator)
        assert new.project.uid != old.project.uid
        assert new.project.host_key != old.project.host_key
        with pytest.raises(Unauthorized):
            await check(orchestrator, old.token)
        await orchestrator.get_project(other)

    async def test_logs_of_a_new_project_are_empty(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        request = o.AskLogs(namespace="team", name="hello", lines=10)
        assert (await orchestrator.get_logs(request)).lines == ()

    # Tokens and users

    async def test_the_first_token_is_full(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        checked = await check(orchestrator, created.token)
        assert checked.project.uid == created.project.uid
        assert checked.scopes == (Scope.FULL,)
        listed = (await orchestrator.list_tokens(KEY)).tokens
        assert [info.id for info in listed] == [checked.token_id]
        assert created.token not in repr(listed)

    async def test_every_no_is_the_same_no(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        other = o.ProjectKey(namespace="team", name="other")
        await create(orchestrator, other, start=True)
        said = set()
        for key in (KEY, other, o.ProjectKey(namespace="team", name="none")):
            with pytest.raises(Unauthorized) as caught:
                await check(orchestrator, "0" * 32, key)
            said.add((caught.value.message, caught.value.hint))
        with pytest.raises(Unauthorized) as caught:
            await check(orchestrator, created.token, other)
        said.add((caught.value.message, caught.value.hint))
        with pytest.raises(Unauthorized) as caught:
            await orchestrator.check_token(
                o.CheckToken(namespace="team", name="hello", token_hash="")
            )
        said.add((caught.value.message, caught.value.hint))
        assert len(said) == 1

    async def test_more_tokens_with_scopes_and_an_end(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        request = o.NewToken(
            namespace="team", name="hello", token_name="ci", scopes=(Scope.SSH, Scope.PORTS)
        )
        secret = await orchestrator.new_token(request)
        checked = await check(orchestrator, secret.token)
        assert checked.token_id == secret.info.id
        assert checked.scopes == (Scope.SSH, Scope.PORTS)
        over = await orchestrator.new_token(msgspec.structs.replace(request, lifetime_s=1e-6))
        assert over.info.expires_at > 0
        with pytest.raises(Unauthorized):
            await check(orchestrator, over.token)

    @pytest.mark.parametrize(
        "bad",
        [{"scopes": ()}, {"scopes": (Scope.REVOKE,)}, {"lifetime_s": -1.0}],
        ids=["no scope", "the gateway's own scope", "a negative lifetime"],
    )
    async def test_bad_tokens_are_not_made(
        self, orchestrator: o.Orchestrator, bad: dict[str, Any]
    ) -> None:
        await create(orchestrator)
        with pytest.raises(BadInput):
            await orchestrator.new_token(
                o.NewToken(**{"namespace": "team", "name": "hello", "token_name": "x", **bad})
            )

    async def test_rotating_all_ends_all_old_ones(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        extra = await orchestrator.new_token(
            o.NewToken(namespace="team", name="hello", token_name="ci")
        )
        fresh = await orchestrator.rotate_tokens(o.RotateTokens(namespace="team", name="hello"))
        assert (await check(orchestrator, fresh.token)).scopes == (Scope.FULL,)
        for old in (created.token, extra.token):
            with pytest.raises(Unauthorized):
                await check(orchestrator, old)
        assert len((await orchestrator.list_tokens(KEY)).tokens) == 1

    async def test_rotating_one_keeps_the_others(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        extra = await orchestrator.new_token(
            o.NewToken(namespace="team", name="hello", token_name="ci", scopes=(Scope.LSP,))
        )
        rotate = o.RotateTokens(namespace="team", name="hello", token_id=extra.info.id)
        fresh = await orchestrator.rotate_tokens(rotate)
        assert fresh.info.id != extra.info.id
        assert (fresh.info.name, fresh.info.scopes) == ("ci", (Scope.LSP,))
        await check(orchestrator, created.token)
        with pytest.raises(Unauthorized):
            await check(orchestrator, extra.token)
        with pytest.raises(NotFound):
            await orchestrator.rotate_tokens(rotate)

    async def test_a_revoked_token_ends(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        checked = await check(orchestrator, created.token)
        revoke = o.RevokeToken(namespace="team", name="hello", token_id=checked.token_id)
        await orchestrator.revoke_token(revoke)
        with pytest.raises(Unauthorized):
            await check(orchestrator, created.token)
        with pytest.raises(NotFound):
            await orchestrator.revoke_token(revoke)

    async def test_users_come_and_go(self, orchestrator: o.Orchestrator) -> None:
        made = await orchestrator.make_user(o.MakeUser(name="ada", namespaces=("team",)))
        check_token(made.token)
        ask = o.CheckUser(token_hash=token_hash(made.token))
        user = await orchestrator.check_user(ask)
        assert (user.name, user.admin, user.namespaces) == ("ada", False, ("team",))
        assert user in (await orchestrator.list_users(o.Nothing())).users
        with pytest.raises(Conflict):
            await orchestrator.make_user(o.MakeUser(name="ada"))
        with pytest.raises(BadInput):
            await orchestrator.make_user(o.MakeUser(name="Ada!"))
        await orchestrator.delete_user(o.UserKey(name="ada"))
        with pytest.raises(Unauthorized):
            await orchestrator.check_user(ask)

    async def test_a_project_token_is_no_user_token(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        with pytest.raises(Unauthorized):
            await orchestrator.check_user(o.CheckUser(token_hash=token_hash(created.token)))

    # Saves and releases

    async def test_nothing_to_save_conflicts(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        assert (await orchestrator.list_saves(KEY)).saves == ()
        with pytest.raises(Conflict):
            await orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))

    async def test_an_asked_save_gets_recorded(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator, start=True)
        await until_phase(orchestrator, Phase.RUNNING)
        orders = []
        for _ in range(2):
            asked = await orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))
            orders.append(await until_recorded(orchestrator, asked.order_id))
        assert orders[0].seq < orders[1].seq
        assert orders[1].reason is SaveReason.ASKED
        assert orders[1].digest.startswith("sha256:")
        listed = [s.seq for s in (await orchestrator.list_saves(KEY)).saves]
        assert listed == sorted(listed, reverse=True)
        assert (await orchestrator.get_project(KEY)).status.head_seq == listed[0]

    async def test_a_release_never_changes(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator, start=True)
        await until_phase(orchestrator, Phase.RUNNING)
        make = o.MakeRelease(namespace="team", name="hello", version="v1", notes="first")
        release = await orchestrator.make_release(make)
        assert (release.version, release.notes) == ("v1", "first")
        assert release.digest.startswith("sha256:")
        with pytest.raises(Conflict):
            await orchestrator.make_release(msgspec.structs.replace(make, notes="second"))
        with pytest.raises(BadInput):
            await orchestrator.make_release(msgspec.structs.replace(make, version="v 2"))
        await orchestrator.make_release(msgspec.structs.replace(make, version="v2"))
        listed = (await orchestrator.list_releases(KEY)).releases
        assert [known.version for known in listed] == ["v2", "v1"]
        assert listed[1] == release

    async def test_a_project_is_made_from_a_release(self, orchestrator: o.Orchestrator) -> None:
        first = await create(orchestrator, start=True)
        await until_phase(orchestrator, Phase.RUNNING)
        await orchestrator.make_release(o.MakeRelease(namespace="team", name="hello", version="v1"))
        for key, runtime in (
            (o.ProjectKey(namespace="team", name="second"), "hello:v1"),
            (o.ProjectKey(namespace="other", name="third"), "team/hello:v1"),
        ):
            made = await create(orchestrator, key, runtime=runtime, start=True)
            assert made.project.host_key != first.project.host_key
            await until_phase(orchestrator, Phase.RUNNING, key)
        elsewhere = o.ProjectKey(namespace="other", name="fourth")
        with pytest.raises(NotFound):
            await create(orchestrator, elsewhere, runtime="hello:v1")

    async def test_a_project_is_made_from_a_save(self, orchestrator: o.Orchestrator) -> None:
        first = await create(orchestrator, start=True, ports=(Port(port=8000),))
        await until_phase(orchestrator, Phase.RUNNING)
        asked = await orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))
        save = await until_recorded(orchestrator, asked.order_id)
        copy = o.ProjectKey(namespace="other", name="copy")
        source = f"team/hello@save-{save.seq}"
        made = await create(orchestrator, copy, runtime=source, start=True)
        assert made.project.image.digest == save.digest
        assert made.project.host_key != first.project.host_key
        assert made.token != first.token
        await until_phase(orchestrator, Phase.RUNNING, copy)
        missing = o.ProjectKey(namespace="team", name="missing")
        for runtime in (f"hello@save-{save.seq + 1}", f"nobody@save-{save.seq}", "hello@save-0"):
            with pytest.raises(NotFound):
                await create(orchestrator, missing, runtime=runtime)

    async def test_an_earlier_save_is_restored_in_place(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator, start=True)
        before = await until_phase(orchestrator, Phase.RUNNING)
        asked = await orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))
        first = await until_recorded(orchestrator, asked.order_id)
        ask = o.AskRestore(namespace="team", name="hello", seq=first.seq)
        restored = await until_recorded(
            orchestrator, (await orchestrator.ask_restore(ask)).order_id
        )
        assert restored.reason is SaveReason.RESTORED
        assert restored.digest == first.digest
        saves = (await orchestrator.list_saves(KEY)).saves
        assert [save.seq for save in saves] == [first.seq + 2, first.seq + 1, first.seq]
        assert saves[1].digest != first.digest
        after = await until_phase(orchestrator, Phase.RUNNING)
        assert after.generation > before.generation
        assert after.status.head_seq == restored.seq
        missing = msgspec.structs.replace(ask, seq=99)
        with pytest.raises(NotFound):
            await orchestrator.ask_restore(missing)

    async def test_two_saves_are_compared(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator, start=True)
        await until_phase(orchestrator, Phase.RUNNING)
        seqs = []
        for _ in range(2):
            asked = await orchestrator.ask_save(o.AskSave(namespace="team", name="hello"))
            seqs.append((await until_recorded(orchestrator, asked.order_id)).seq)
        ask = o.DiffSaves(namespace="team", name="hello", older=seqs[0])
        diff = await orchestrator.diff_saves(ask)
        assert (diff.older, diff.newer) == (seqs[0], seqs[1])
        back = msgspec.structs.replace(ask, older=seqs[1], newer=seqs[0])
        assert (await orchestrator.diff_saves(back)).newer == seqs[0]
        with pytest.raises(NotFound):
            await orchestrator.diff_saves(msgspec.structs.replace(ask, newer=99))
        with pytest.raises(BadInput):
            await orchestrator.diff_saves(msgspec.structs.replace(ask, limit=0))

    async def test_the_disk_is_told(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        disk = await orchestrator.get_disk(o.AskDisk())
        assert 0 < disk.floor_bytes < disk.low_bytes < disk.high_bytes < disk.total_bytes
        assert all(one.namespace == "team" for one in disk.projects)
        assert (await orchestrator.get_disk(o.AskDisk(namespaces=()))).projects == ()

    # Changes

    async def test_an_idle_watch_ends_by_itself(self, orchestrator: o.Orchestrator) -> None:
        revision = await begin(orchestrator)
        changes = await orchestrator.watch(o.Watch(revision=revision, wait_s=0.05))
        assert changes == o.Changes(revision=revision, complete=True)

    async def test_a_watch_wakes_when_a_project_is_made(self, orchestrator: o.Orchestrator) -> None:
        revision = await begin(orchestrator)
        watching = asyncio.get_running_loop().create_task(
            orchestrator.watch(o.Watch(revision=revision, wait_s=_PATIENCE_S))
        )
        created = await create(orchestrator)
        async with asyncio.timeout(_PATIENCE_S / 2):
            changes = await watching
        assert changes.complete
        assert changes.revision > revision
        assert created.project.uid in {project.uid for project in changes.projects}

    async def test_news_of_a_project_come_when_it_is_another_than_seen(
        self, orchestrator: o.Orchestrator
    ) -> None:
        seen = (await create(orchestrator)).project
        asked = news_after(seen)
        assert (await orchestrator.await_news(msgspec.structs.replace(asked, wait_s=0.05))) == seen
        waiting = asyncio.get_running_loop().create_task(orchestrator.await_news(asked))
        await asyncio.sleep(0)
        await orchestrator.start_project(KEY)
        async with asyncio.timeout(_PATIENCE_S / 2):
            project = await waiting
            while project.status.phase is not Phase.RUNNING:
                project = await orchestrator.await_news(news_after(project))
        assert project.generation == seen.generation + 1
        # What is news already is told at once.
        assert (await orchestrator.await_news(asked)).status.phase is Phase.RUNNING

    async def test_whoever_waits_for_news_hears_that_the_project_is_gone(
        self, orchestrator: o.Orchestrator
    ) -> None:
        project = (await create(orchestrator)).project
        await orchestrator.delete_project(KEY)

        async def until_gone() -> None:
            seen = project
            while True:
                seen = await orchestrator.await_news(news_after(seen))

        async with asyncio.timeout(_PATIENCE_S):
            with pytest.raises(NotFound):
                await until_gone()

    async def test_a_watch_tells_what_is_gone(self, orchestrator: o.Orchestrator) -> None:
        created = await create(orchestrator)
        first = await check(orchestrator, created.token)
        user = (await orchestrator.make_user(o.MakeUser(name="ada"))).user
        revision = await begin(orchestrator)
        fresh = await orchestrator.rotate_tokens(o.RotateTokens(namespace="team", name="hello"))
        await orchestrator.delete_user(o.UserKey(name="ada"))
        changes = await orchestrator.watch(o.Watch(revision=revision, wait_s=0.0))
        assert set(changes.revoked_token_ids) == {first.token_id, user.token_id}
        await orchestrator.delete_project(KEY)
        await until_gone(orchestrator)
        changes = await orchestrator.watch(o.Watch(revision=revision, wait_s=0.0))
        assert changes.complete
        assert created.project.uid in changes.deleted_uids
        assert created.project.uid not in {project.uid for project in changes.projects}
        assert fresh.info.id in changes.revoked_token_ids

    @pytest.mark.parametrize("revision", [0, 1 << 52], ids=["too old", "of nobody"])
    async def test_an_unknown_revision_says_so_at_once(
        self, orchestrator: o.Orchestrator, revision: int
    ) -> None:
        await create(orchestrator)
        async with asyncio.timeout(_PATIENCE_S / 2):
            changes = await orchestrator.watch(o.Watch(revision=revision, wait_s=_PATIENCE_S))
        assert not changes.complete
        again = await orchestrator.watch(o.Watch(revision=changes.revision, wait_s=0.0))
        assert again.complete

    # Runtimes

    async def test_runtimes_are_listed_in_order(self, orchestrator: o.Orchestrator) -> None:
        names = [
            runtime.name for runtime in (await orchestrator.list_runtimes(o.Nothing())).runtimes
        ]
        assert names == sorted(names)
        assert {"postgres", "python"} <= set(names)
        assert (await orchestrator.build_runtime(o.RuntimeKey(name="python"))).name == "python"

    async def test_an_image_becomes_a_runtime(self, orchestrator: o.Orchestrator) -> None:
        add = o.AddRuntime(name="tool", reference="registry.example/tool:1")
        added = await orchestrator.add_runtime(add)
        assert (added.name, added.source) == ("tool", "registry.example/tool:1")
        with pytest.raises(Conflict):
            await orchestrator.add_runtime(add)
        for bad in (o.AddRuntime(name="Bad", reference="x"), o.AddRuntime(name="x", reference="")):
            with pytest.raises(BadInput):
                await orchestrator.add_runtime(bad)
        await orchestrator.remove_runtime(o.RuntimeKey(name="tool"))
        names = {
            runtime.name for runtime in (await orchestrator.list_runtimes(o.Nothing())).runtimes
        }
        assert "tool" not in names

    async def test_a_runtime_in_use_stays(self, orchestrator: o.Orchestrator) -> None:
        await create(orchestrator)
        with pytest.raises(Conflict):
            await orchestrator.remove_runtime(o.RuntimeKey(name="python"))
