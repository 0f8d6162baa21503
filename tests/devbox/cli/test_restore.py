"""Going back to a save, as a person sees it."""

import pytest

from devbox.model.orchestrator import AskedSave, AskRestore, Saves
from devbox.model.saves import Save, SaveReason, SaveStep
from tests.devbox.cli.conftest import Cli


@pytest.mark.smoke
def test_restore_says_what_is_there_now(cli: Cli) -> None:
    cli.ok("create", "hello")
    cli.run("save", "hello")
    result = cli.run("restore", "hello", "1")
    assert result.out == "hello is as save 1 had it; that is save 3 now (0.00 s).\n"
    assert "Every save before is still there" in result.err
    assert cli.ok("show", "hello").count("running")


def test_a_save_that_is_not_there_changes_nothing(cli: Cli) -> None:
    cli.ok("create", "hello")
    result = cli.run("restore", "hello", "1")
    assert (result.code, result.out) == (4, "")
    assert "there is no save hello@save-1" in result.err


def test_a_restore_that_the_node_refused_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.ok("create", "hello")
    refused = Save(
        project_uid="p",
        seq=2,
        generation=2,
        reason=SaveReason.RESTORED,
        step=SaveStep.DROPPED,
        order_id="order",
        note="its image is gone",
    )

    async def ask_restore(request: AskRestore) -> AskedSave:
        return AskedSave(order_id="order")

    async def list_saves(request: object) -> Saves:
        return Saves(saves=(refused,))

    monkeypatch.setattr(cli.orchestrator, "ask_restore", ask_restore)
    monkeypatch.setattr(cli.orchestrator, "list_saves", list_saves)
    result = cli.run("restore", "hello", "1")
    assert (result.code, result.out) == (5, "")
    assert "nothing was restored: its image is gone" in result.err
