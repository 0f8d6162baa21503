"""Uppers: a project's changed files, kept outside containerd.

Invariants, whatever is killed when:
- an upper is linked to at most one snapshot whose container may still start;
- an upper stands on one image chain for ever;
- a directory that is not in the journal is taken up again, never replaced.
"""

from node_agent.upper.keeping import Uppers
from node_agent.upper.overlay import Overlay, mounted_uppers, overlay_of

__all__ = ["Overlay", "Uppers", "mounted_uppers", "overlay_of"]
