#!/usr/bin/env bash
# Get the trainers that no registry has, each in its newest state: those named, or those that
# benchmarks/parity runs.
#
#   TOUCHSTONE_CONTRACT=FOLDER tests/contract/environments/checkouts.sh [OWNER/NAME …]
set -euo pipefail
folder=${TOUCHSTONE_CONTRACT:?name the folder for the checkouts}
[ $# -gt 0 ] || set -- THUDM/slime hiyouga/EasyR1 NVIDIA-NeMo/Gym alibaba/ROLL
mkdir -p "$folder"
for repository in "$@"; do
  made=$folder/${repository#*/}
  [ -d "$made" ] && { echo "$made is there"; continue; }
  git clone -q --depth 1 "https://github.com/$repository" "$made"
  git -C "$made" rev-parse --short HEAD > "$made/.commit"
  echo "$made is made"
done
