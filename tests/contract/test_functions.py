"""Reward functions of other projects, unchanged, score as they do when their own trainers call
them.

TOUCHSTONE_CONTRACT is the folder of checkouts or unpacked wheels that `test_trainers.py` describes;
TRL is the installed one. All run in the environment `functions` of `environments/make.sh`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.peers import python_of, run_script

# project, its checkout, and the cases to tell apart: right, wrong, repeated, tagged
PROJECTS = [
    ("trl", "", {"0 trl.rewards:think_format_reward": [1.0, 0.0, 0.0, 1.0]}),
    ("verl", "verl", {"0 verl.utils.reward_score.gsm8k:compute_score": [1.0, 0.0, 0.0, 0.0]}),
    ("openrlhf", "OpenRLHF", {"0 math_reward_func:reward_func": [1.0, 0.0, 0.0, 0.0]}),
    ("ms_swift", "ms-swift", {"0 swift.rewards.orm:Format": [0.0, 0.0, 0.0, 1.0]}),
    ("verifiers", "verifiers", {"1 verifiers.own:correct_answer": [1.0, 0.0, 0.0, 0.0]}),
]


@pytest.mark.parametrize(("project", "repository", "known"), PROJECTS)
def test_a_projects_own_functions_score_as_its_trainer_has_them_score(
    project: str, repository: str, known: dict[str, list[float]]
) -> None:
    checkout = ""
    if repository:
        folder = os.environ.get("TOUCHSTONE_CONTRACT")
        if not folder:
            pytest.skip("TOUCHSTONE_CONTRACT names no folder of trainers' checkouts")
        if not (Path(folder) / repository).is_dir():
            pytest.skip(f"there is no checkout of {repository} in {folder}")
        checkout = str(Path(folder) / repository)
    found = run_script(python_of("functions"), "functions", project, checkout)
    for name, values in found.items():
        assert values["ours"] == values["theirs"], name
    for name, values in known.items():
        assert found[name]["ours"] == values
