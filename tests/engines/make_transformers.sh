#!/usr/bin/env bash
# Make the environment in which tests start `transformers serve` on a CPU.
#
#   tests/engines/make_transformers.sh
#
# TOUCHSTONE_ENGINES is the folder for it (default: touchstone_engines in the folder for temporary
# files). PYTHON is an interpreter with this project's extra `neural` (default: .venv/bin/python):
# its torch and transformers are used, what serving needs beside them is installed here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../../.venv/bin/python}
made=${TOUCHSTONE_ENGINES:-${TMPDIR:-/tmp}/touchstone_engines}/transformers
export PIP_DISABLE_PIP_VERSION_CHECK=1

packages=$("$python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
version=$("$python" -c "from importlib.metadata import version; print(version('transformers'))")
wanted="transformers[serving]==$version of $packages"
[ "$(cat "$made/.made_with" 2>/dev/null)" = "$wanted" ] && { echo "$made is there"; exit; }
rm -rf "$made"
"$python" -m venv "$made"
site=$("$made/bin/python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
echo "$packages" > "$site/of_the_project.pth"
"$made/bin/python" -m pip install -q "transformers[serving]==$version"
echo "$wanted" > "$made/.made_with"
echo "$made is made"
