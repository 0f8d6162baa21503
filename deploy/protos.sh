#!/bin/bash
# Make the _pb2 modules of every .proto in the source tree.
#   deploy/protos.sh          write them beside their .proto
#   deploy/protos.sh DIR      write them under DIR, to compare
set -eu
cd "$(dirname "$0")/.."
mapfile -t files < <(find devbox -name '*.proto' | LC_ALL=C sort)
"${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -I . --python_out="${1:-.}" --pyi_out="${1:-.}" "${files[@]}"
