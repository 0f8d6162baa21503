"""The program on every node: commit-shim, saver, disk collector."""
