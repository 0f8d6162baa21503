"""A client of the container runtime interface, CRI v1. Knows no project and no upper."""
