"""The Orchestrator and the node's orders over the store. Knows no CRI."""
