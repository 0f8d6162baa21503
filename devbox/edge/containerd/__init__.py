"""A client of containerd's native gRPC API. Knows no CRI, no project and no upper."""
