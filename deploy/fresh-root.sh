#!/bin/bash
# Run a command in a clean clone of this repository on a machine where nothing was installed by hand: a new Debian 12
# root with make, git, Python and sudo, its own mounts and process ids, an empty HOME and no caches. It shares the
# machine's network. Needs root and mmdebstrap. The exit status is the command's.
#   deploy/fresh-root.sh 'make up && make demo && make down'
#   KEEP=DIR deploy/fresh-root.sh 'make up'     keep the root in DIR, and use it again
set -eu
[ $# -ge 1 ] || { sed -n '2,6s/^# *//p' "$0"; exit 2; }
here=$(readlink -f "$(dirname "$0")/..")
root=${KEEP:-$(mktemp -d /var/tmp/fresh-root.XXXXXX)}
child=
tidy() {
  trap - EXIT
  trap '' INT TERM HUP
  # The child is the first process of all that the command started: the kernel ends them with it.
  [ -z "$child" ] || { kill -KILL "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; }
  [ -n "${KEEP:-}" ] && return
  # What was just ended may still write for a moment.
  for _ in 1 2 3 4 5; do rm -rf --one-file-system "$root" 2>/dev/null && break; sleep 0.2; done
}
trap tidy EXIT
trap 'exit 130' INT TERM HUP
alone() { # COMMAND...   in mounts and process ids of its own, so that nothing of it outlives this script
  unshare --mount --pid --fork --kill-child --mount-proc "$@" &
  child=$!
  wait $child && status=0 || status=$?
  child=
  return $status
}

if [ ! -x "$root/bin/bash" ]; then
  echo "Making a new Debian root" >&2
  sources=$(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -size +0 -o -name '*.sources' -size +0 2>/dev/null | sort)
  # shellcheck disable=SC2086
  alone mmdebstrap --quiet --mode=root --variant=minbase \
    --include=ca-certificates,git,make,python3,python3-venv,sudo bookworm "$root" $sources
  grep -l Acquire:: /etc/apt/apt.conf.d/* 2>/dev/null | xargs -r cp -t "$root/etc/apt/apt.conf.d" || true
fi
rm -rf "$root/src"
git clone --quiet --no-hardlinks "$here" "$root/src"

cat >"$root/enter" <<'INSIDE'
set -e
root=$1 command=$2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount --rbind /sys sys
mount --rbind /dev dev
mount -t proc proc proc
mount -t tmpfs tmpfs run
mkdir -p run/lock .before
cat /etc/resolv.conf >etc/resolv.conf
mount --rbind /etc/ssl etc/ssl
pivot_root . .before
umount -l /.before
cd /src
ca=/etc/ssl/certs/ca-certificates.crt
exec env -i HOME=/root LANG=C.UTF-8 TERM=xterm PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  PIP_CERT=$ca SSL_CERT_FILE=$ca REQUESTS_CA_BUNDLE=$ca NODE_EXTRA_CA_CERTS=$ca GIT_SSL_CAINFO=$ca ${CI:+CI=$CI} \
  bash -c "$command"
INSIDE
alone bash "$root/enter" "$root" "$*"
