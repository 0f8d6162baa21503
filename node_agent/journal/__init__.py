"""The node agent's durable record of uppers, boxes, and saves in progress.

Owns one SQLite file that the commit-shim and the node agent share. Knows no containerd, registry
or controller. Every change is one transaction that is on disk before the call returns.
"""

from node_agent.journal.journal import Journal
from node_agent.journal.rows import Box, PendingSave, Upper

__all__ = ["Box", "Journal", "PendingSave", "Upper"]
