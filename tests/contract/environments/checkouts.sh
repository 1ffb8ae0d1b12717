#!/usr/bin/env bash
# Get the trainers that are run from their sources: a repository (OWNER/NAME) in its newest state, or
# a package of the registry, unpacked, in its newest release. Without names: what benchmarks/parity
# runs.
#
#   TOUCHSTONE_CONTRACT=FOLDER tests/contract/environments/checkouts.sh [OWNER/NAME | PACKAGE …]
#
# PYTHON is an interpreter with pip (default: .venv/bin/python).
set -euo pipefail
folder=${TOUCHSTONE_CONTRACT:?name the folder for the checkouts}
python=${PYTHON:-$(cd "$(dirname "$0")/../../.." && pwd)/.venv/bin/python}
newest_python=3.14 # a release that asks for a newer Python than this one is unpacked all the same
[ $# -gt 0 ] || set -- THUDM/slime hiyouga/EasyR1 alibaba/ROLL nemo-gym
mkdir -p "$folder"
for source in "$@"; do
  made=$folder/${source#*/}
  [ -d "$made" ] && { echo "$made is there"; continue; }
  if [ "$source" != "${source#*/}" ]; then
    git clone -q --depth 1 "https://github.com/$source" "$made"
    git -C "$made" rev-parse --short HEAD > "$made/.commit"
  else
    wheels=$(mktemp -d)
    "$python" -m pip download -q --no-deps --only-binary :all: --python-version $newest_python \
      -d "$wheels" "$source"
    "$python" -m zipfile -e "$wheels"/*.whl "$made"
    sed -n 's/^Version: //p' "$made"/*.dist-info/METADATA > "$made/.commit"
    rm -r "$wheels"
  fi
  echo "$made is made"
done
