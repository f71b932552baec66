#!/usr/bin/env bash
# Makes images that cannot be pulled here out of Debian's packages, under the names that are asked
# for: stand_ins.sh PYTHON_IMAGE REDIS_IMAGE STORE_IMAGE MINIO_PROGRAM
#
# Each has what our files use of the real one: an interpreter, a server with its client, a store
# that takes the same arguments. Needs root, debootstrap and a Debian mirror.
set -euo pipefail

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debian() { # SUITE FOLDER PACKAGES: a small root file system, with the host's authorities
  debootstrap --variant=minbase --include="ca-certificates,$3" "$1" "$2" "$mirror" >&2
  cp /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/certs/"
  rm -rf "$2"/var/cache/apt/archives/* "$2"/var/lib/apt/lists/* "$2"/usr/share/{doc,man,locale}/*
}

image() { # FOLDER NAME CHANGES...: the folder as an image of that name
  local folder=$1 name=$2 changes=()
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  tar -C "$folder" -c . | docker import "${changes[@]}" - "$name"
}

if [ "$1" != - ]; then
  debian bookworm "$work/python" python3,python3-venv
  image "$work/python" "$1" 'CMD ["python3"]' \
    'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
    'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt'
fi
if [ "$2" != - ]; then
  debian trixie "$work/redis" redis-server
  image "$work/redis" "$2" 'CMD ["redis-server"]'
fi
if [ "$3" != - ]; then
  debian bookworm "$work/store" curl
  install "$4" "$work/store/usr/bin/silo"
  image "$work/store" "$3" 'ENTRYPOINT ["/usr/bin/silo"]'
fi
