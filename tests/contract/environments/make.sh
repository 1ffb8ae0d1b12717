#!/usr/bin/env bash
# Make the environments in which tests/contract and benchmarks/parity run other trainers: one for
# each requirements file beside this script, or only those named.
#
#   tests/contract/environments/make.sh [NAME …]
#
# TOUCHSTONE_PEERS is the folder for them (default: touchstone_peers in the folder for temporary
# files). PYTHON is an interpreter with this project installed (default: .venv/bin/python). Its
# packages are shared by a .pth file: torch is never fetched again, and never in another version.
# A file with a line `# python: NAME` has its environment made with that interpreter, sharing nothing.
# What NAME.no_deps lists is installed last and without what it asks for.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
folder=${TOUCHSTONE_PEERS:-${TMPDIR:-/tmp}/touchstone_peers}
export PIP_DISABLE_PIP_VERSION_CHECK=1

[ $# -gt 0 ] || set -- $(cd "$here" && ls -- *.txt | sed 's/\.txt$//')
shared=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
torch=$("$python" -c 'import torch; print(torch.__version__)')
for name in "$@"; do
  requirements=$here/$name.txt
  [ -f "$requirements" ] || { echo "there is no $requirements" >&2; exit 2; }
  made=$folder/$name
  alone=$(cat "$here/$name.no_deps" 2>/dev/null || true)
  # Remade whenever its requirements, or the packages it shares, are others than it was made with.
  wanted="$torch $shared $(cat "$requirements")${alone:+ $alone}"
  [ "$(cat "$made/.made_with" 2>/dev/null)" = "$wanted" ] && { echo "$made is there"; continue; }
  rm -rf "$made"
  other=$(sed -n 's/^# python: //p' "$requirements")
  "${other:-$python}" -m venv "$made"
  own=$("$made/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  constraints=$made/constraints.txt
  echo "torch==$torch" > "$constraints"
  [ -n "$other" ] || echo "$shared" > "$own/shared.pth"
  "$made/bin/python" -m pip install -q -c "$constraints" -r "$requirements"
  [ -z "$alone" ] || "$made/bin/python" -m pip install -q --no-deps -r "$here/$name.no_deps"
  [ ! -d "$own/torch" ] || { echo "$name brought a torch of its own" >&2; exit 1; }
  echo "$wanted" > "$made/.made_with"
  echo "$made is made"
done
