"""The Orchestrator and the node's orders, called over the controller's unix sockets."""

from pathlib import Path

from devbox.edge.rpc import Caller
from devbox.model import nodes as n
from devbox.model import orchestrator as o
from devbox.model.disk import Disk
from devbox.model.projects import Project, User
from devbox.model.runtimes import Runtime
from devbox.model.saves import Release, SaveDiff

_SLACK_S = 10.0
_RELEASE_S = 3600.0
_DIFF_S = 310.0
_BOX_S = 2.0


class OrchestratorClient(o.Orchestrator):
    """The controller, for the gateway."""

    def __init__(self, socket: Path) -> None:
        self._caller = Caller(socket, o.Orchestrator, "controller")

    async def create_project(self, request: o.CreateProject) -> o.CreatedProject:
        """Make a project and, if asked, start it. Does not wait for its box."""
        answer: o.CreatedProject = await self._caller.call("create_project", request)
        return answer

    async def get_project(self, request: o.ProjectKey) -> Project:
        """One project."""
        answer: Project = await self._caller.call("get_project", request)
        return answer

    async def await_news(self, request: o.AskNews) -> Project:
        """One project, once it is not what the caller saw."""
        answer: Project = await self._caller.call(
            "await_news", request, timeout_s=request.wait_s + _SLACK_S
        )
        return answer

    async def list_projects(self, request: o.ListProjects) -> o.Projects:
        """All, or those of some namespaces."""
        answer: o.Projects = await self._caller.call("list_projects", request)
        return answer

    async def edit_project(self, request: o.EditProject) -> Project:
        """Change what is desired of it."""
        answer: Project = await self._caller.call("edit_project", request)
        return answer

    async def start_project(self, request: o.ProjectKey) -> Project:
        """Desire it running. Does not wait."""
        answer: Project = await self._caller.call("start_project", request)
        return answer

    async def stop_project(self, request: o.ProjectKey) -> Project:
        """Desire it stopped. Does not wait."""
        answer: Project = await self._caller.call("stop_project", request)
        return answer

    async def delete_project(self, request: o.ProjectKey) -> o.Nothing:
        """Desire it gone, with all it owns. Does not wait; get_project raises when it is."""
        answer: o.Nothing = await self._caller.call("delete_project", request)
        return answer

    async def ask_save(self, request: o.AskSave) -> o.AskedSave:
        """Ask for a save. Does not wait."""
        answer: o.AskedSave = await self._caller.call("ask_save", request)
        return answer

    async def ask_restore(self, request: o.AskRestore) -> o.AskedSave:
        """Go back to a save. Answers once the present state is recorded."""
        answer: o.AskedSave = await self._caller.call("ask_restore", request, timeout_s=_RELEASE_S)
        return answer

    async def list_saves(self, request: o.ProjectKey) -> o.Saves:
        """In progress and recorded."""
        answer: o.Saves = await self._caller.call("list_saves", request)
        return answer

    async def diff_saves(self, request: o.DiffSaves) -> SaveDiff:
        """What changed between two saves."""
        answer: SaveDiff = await self._caller.call("diff_saves", request, timeout_s=_DIFF_S)
        return answer

    async def make_release(self, request: o.MakeRelease) -> Release:
        """Save and give the save a version."""
        answer: Release = await self._caller.call("make_release", request, timeout_s=_RELEASE_S)
        return answer

    async def list_releases(self, request: o.ProjectKey) -> o.Releases:
        """A project's releases."""
        answer: o.Releases = await self._caller.call("list_releases", request)
        return answer

    async def list_tokens(self, request: o.ProjectKey) -> o.Tokens:
        """A project's tokens."""
        answer: o.Tokens = await self._caller.call("list_tokens", request)
        return answer

    async def new_token(self, request: o.NewToken) -> o.TokenSecret:
        """Add a token."""
        answer: o.TokenSecret = await self._caller.call("new_token", request)
        return answer

    async def rotate_tokens(self, request: o.RotateTokens) -> o.TokenSecret:
        """Replace tokens; the old ones end at once."""
        answer: o.TokenSecret = await self._caller.call("rotate_tokens", request)
        return answer

    async def revoke_token(self, request: o.RevokeToken) -> o.Nothing:
        """Take a token back."""
        answer: o.Nothing = await self._caller.call("revoke_token", request)
        return answer

    async def check_token(self, request: o.CheckToken) -> o.CheckedToken:
        """Validate a project token."""
        answer: o.CheckedToken = await self._caller.call("check_token", request)
        return answer

    async def check_user(self, request: o.CheckUser) -> User:
        """Validate a user token."""
        answer: User = await self._caller.call("check_user", request)
        return answer

    async def make_user(self, request: o.MakeUser) -> o.UserSecret:
        """Add a user."""
        answer: o.UserSecret = await self._caller.call("make_user", request)
        return answer

    async def list_users(self, request: o.Nothing) -> o.Users:
        """All users."""
        answer: o.Users = await self._caller.call("list_users", request)
        return answer

    async def delete_user(self, request: o.UserKey) -> o.Nothing:
        """Remove a user; the token ends at once."""
        answer: o.Nothing = await self._caller.call("delete_user", request)
        return answer

    async def get_logs(self, request: o.AskLogs) -> o.Logs:
        """What the box's main process wrote."""
        answer: o.Logs = await self._caller.call("get_logs", request)
        return answer

    async def get_disk(self, request: o.AskDisk) -> Disk:
        """Who uses what of the node's disk."""
        answer: Disk = await self._caller.call("get_disk", request, timeout_s=_DIFF_S)
        return answer

    async def watch(self, request: o.Watch) -> o.Changes:
        """Changes since a revision."""
        answer: o.Changes = await self._caller.call(
            "watch", request, timeout_s=request.wait_s + _SLACK_S
        )
        return answer

    async def list_runtimes(self, request: o.Nothing) -> o.Runtimes:
        """Built-in and added runtimes."""
        answer: o.Runtimes = await self._caller.call("list_runtimes", request)
        return answer

    async def build_runtime(self, request: o.RuntimeKey) -> Runtime:
        """Build or pull it again. Does not wait."""
        answer: Runtime = await self._caller.call("build_runtime", request)
        return answer

    async def add_runtime(self, request: o.AddRuntime) -> Runtime:
        """Add an image as a runtime. Does not wait."""
        answer: Runtime = await self._caller.call("add_runtime", request)
        return answer

    async def remove_runtime(self, request: o.RuntimeKey) -> o.Nothing:
        """Conflict while a project was made from it."""
        answer: o.Nothing = await self._caller.call("remove_runtime", request)
        return answer

    async def close(self) -> None:
        """Close connections."""
        await self._caller.close()


class NodeOrdersClient(n.NodeOrders):
    """The controller, for a node."""

    def __init__(self, socket: Path) -> None:
        self._caller = Caller(socket, n.NodeOrders, "controller")

    async def box(self, request: n.BoxKey) -> n.BoxRecord:
        """The box of a pod. NotFound when the pod is not a box. Answers within milliseconds."""
        answer: n.BoxRecord = await self._caller.call("box", request, timeout_s=_BOX_S)
        return answer

    async def orders(self, request: n.AskOrders) -> n.Orders:
        """The node's orders."""
        answer: n.Orders = await self._caller.call(
            "orders", request, timeout_s=request.wait_s + _SLACK_S
        )
        return answer

    async def report(self, request: n.Report) -> o.Nothing:
        """Take news. When it answers, the controller has it on disk."""
        answer: o.Nothing = await self._caller.call("report", request)
        return answer

    async def close(self) -> None:
        """Close connections."""
        await self._caller.close()
