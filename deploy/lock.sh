#!/bin/bash
# Resolve the dependencies again and write the lock files: versions and hashes, no registry's name. Needs uv.
#   deploy/lock.sh            keep what is locked, add what is new
#   deploy/lock.sh --upgrade  take the newest of everything
set -eu
cd "$(dirname "$0")/.."
lock() { # FILE EXTRAS...
  local file=$1; shift
  uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header \
    ${upgrade:+--upgrade} "${@/#/--extra=}" -o "deploy/locks/$file.txt" pyproject.toml
}
upgrade=; [ "${1:-}" = --upgrade ] && upgrade=1
lock build build
lock dev dev agent build server
lock server server
lock agent agent
