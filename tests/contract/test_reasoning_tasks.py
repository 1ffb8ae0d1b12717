"""All of reasoning-gym's own verifiers agree with the scorer that calls them.

They run in the environment `reasoning_tasks` of `environments/make.sh`.
"""

from __future__ import annotations

from tests.checkout import ROOT
from tests.contract.peers import python_of, run_script


def test_every_verifier_scores_as_it_does_by_itself_and_none_evaluates_an_answer() -> None:
    launch = str(ROOT / "docs" / "launch")
    found = run_script(python_of("reasoning_tasks"), "reasoning_tasks", launch)
    assert found["datasets"] > 100
    assert found["differ"] == []
    assert found["evaluate"] == found["refused"]
    assert "countdown" in found["refused"]
    assert found["no_answer"] == 0.0
    assert found["another_entry"] is None
    assert found["broken_entry"] is None
    assert all(ours == theirs for ours, theirs in found["extracted"])
