"""Messages of containerd's native API: the fields we read and write, numbered as containerd does.

Each `.proto` is a hand-written subset; `deploy/protos.sh` makes the `_pb2` modules of it.
"""
