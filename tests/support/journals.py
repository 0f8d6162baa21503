"""Rows of the node's journal that several tests begin with."""

from devbox.model.projects import Image
from devbox.model.saves import UpperState
from node_agent.journal import Box, Upper

IMAGE = Image(repository="runtimes/python", digest="sha256:" + "a" * 64, architecture="amd64")
UPPER = Upper(
    project_uid="p1",
    path="/data/uppers/p1/fs",
    image=IMAGE,
    chain_id="sha256:" + "b" * 64,
    generation=1,
    state=UpperState.CLEAN,
)
BOX = Box("c1", "s1", "pod1", "p1", 2)
