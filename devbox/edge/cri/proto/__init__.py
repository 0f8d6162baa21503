"""Messages of CRI v1: the fields we read and write, numbered as Kubernetes does.

`runtime.proto` is a hand-written subset; `deploy/protos.sh` makes the `_pb2` module of it.
"""
