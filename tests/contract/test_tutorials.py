"""The training commands of the quick starts, which need a GPU, have only options that the trainers
know.

Each is held to the trainer's own package, in an environment of TOUCHSTONE_PEERS; see `make.sh`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.checkout import ROOT
from tests.contract.peers import run_script
from tests.typed_pages import Block, blocks_of, peers_environments

TUTORIALS = ROOT / "docs" / "tutorials"


def block_with(page: str, words: str) -> Block:
    """Return the one block of a tutorial that contains these words."""
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    [found] = [block for block in blocks_of(text) if words in block.code]
    return found


def package(environment: str, name: str) -> Path:
    """Return an installed package's folder; without it the test is skipped."""
    folder = peers_environments().get(environment)
    for path in Path(folder or "/nowhere").glob(f"lib/python3*/site-packages/{name}"):
        return path
    pytest.skip(f"no environment {environment} with {name} in TOUCHSTONE_PEERS")


def test_openrlhf_has_every_flag() -> None:
    source = package("parity_openrlhf", "openrlhf") / "cli" / "train_ppo_ray.py"
    flags = re.findall(r"(--[\w.]+)", block_with("openrlhf", "train_ppo_ray").code)
    assert len(flags) > 5
    assert [flag for flag in flags if f'"{flag}"' not in source.read_text()] == []


def test_llamafactory_has_every_key() -> None:
    hparams = package("parity_llamafactory", "llamafactory") / "hparams"
    of_transformers = package("parity_llamafactory", "transformers") / "training_args.py"
    known = "".join(path.read_text() for path in [*hparams.glob("*.py"), of_transformers])
    keys = yaml.safe_load(block_with("llamafactory", "stage: ppo").code)
    assert [key for key in keys if not re.search(rf"^    {key}\b", known, re.MULTILINE)] == []


def test_verl_takes_every_override() -> None:
    package("parity_verl", "verl")
    words = shlex.split(block_with("verl", "main_ppo").code.replace("\\\n", " "))
    python = f"{peers_environments()['parity_verl']}/bin/python"
    found = run_script(python, "verl_overrides", *words[words.index("-m") + 2 :])
    assert found["name"] == "compute_score_async"
    assert found["reward_kwargs"] == {"url": "http://127.0.0.1:8700", "profile": "math"}
