"""The Orchestrator of one machine: every call of the protocol over the store."""

from controller.calls.disk import DiskCalls
from controller.calls.people import PeopleCalls
from controller.calls.projects import ProjectCalls
from controller.calls.runtimes import RuntimeCalls
from controller.calls.saves import SaveCalls
from devbox.model.orchestrator import Orchestrator


class EmbeddedOrchestrator(
    ProjectCalls, SaveCalls, PeopleCalls, RuntimeCalls, DiskCalls, Orchestrator
):
    """Passes `tests/controller/contract.py`."""
