"""The scorer in your own process: three lines, and four small packages to install."""

from __future__ import annotations

import asyncio
import doctest
import subprocess
import sys

import pytest

from tests.checkout import ROOT
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import ScorerSpec
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, verify

MATH = "touchstone_rewards.reward_server.scorers.math"


def test_a_verdict_is_true_or_false_and_says_why() -> None:
    right, wrong = verify("0.5", "\\boxed{\\frac12}"), verify("0.5", "\\boxed{\\frac13}")
    assert right
    assert not wrong
    assert (right.equal, wrong.equal) == (True, False)
    assert right.reason == "'\\\\frac12' is the ground truth 1/2: exact rationals"
    assert wrong.reason == "'\\\\frac13' is not the ground truth 1/2: exact rationals"
    assert repr(right) == (
        "Verdict(equal=True, method='exact rationals', answer='\\\\frac12', place='boxed', "
        "read_answer='(1/2)', read_ground_truth='1/2')"
    )


def test_the_ground_truth_comes_first() -> None:
    assert verify("2", "we get 1 and then \\boxed{2}")
    assert verify(["1/3", 0.5], "\\boxed{1/2}")
    assert not verify("2, or 1", "\\boxed{1}")


def test_a_verdict_without_an_answer_and_one_at_a_limit_say_so() -> None:
    assert verify("2", "").reason == "no answer found"
    deep = verify("2", "\\boxed{" + "{" * 100 + "2" + "}" * 100 + "}")
    assert deep.undecided
    assert "was not shown to be the ground truth 2: undecided: nested deeper" in deep.reason


def test_config_keys_are_keywords() -> None:
    assert not verify("3.14", "\\boxed{3.14159}")
    assert verify("3.14", "\\boxed{3.14159}", rounding="ground_truth_precision")
    with pytest.raises(TypeError, match="tolerance"):
        verify("3.14", "\\boxed{3.14159}", tolerance=1e-3)
    with pytest.raises(ValueError, match="rounding"):
        verify("3.14", "\\boxed{3.14159}", rounding="loose")


@pytest.mark.parametrize("truth", [None, "", "\\frac{1}{"])
def test_a_ground_truth_that_cannot_be_read_is_no_verdict(truth: str | None) -> None:
    with pytest.raises(UnreadableGroundTruth):
        verify(truth, "\\boxed{1}")


def test_the_example_in_the_docstring_runs() -> None:
    [example] = doctest.DocTestFinder().find(verify, "verify", globs={"verify": verify})
    assert doctest.DocTestRunner().run(example) == (0, 2)


@pytest.mark.parametrize("place", [0, 1])
def test_the_code_in_the_documentation_runs(place: int) -> None:
    text = (ROOT / "docs/math.md").read_text(encoding="utf-8")
    code = text.partition("## In your own process")[2].split("```python\n")[place + 1]
    done = subprocess.run(
        [sys.executable, "-c", code.partition("```")[0]], capture_output=True, text=True, cwd=ROOT
    )
    said = ["True '\\\\frac12' is the ground truth 1/2: exact rationals", "1.0 None"][place]
    assert done.stdout.strip() == said, done.stderr


# Every import fails except these and what they import themselves.
BLOCKING = """
import sys
allowed = {"touchstone_rewards", "msgspec", "flint", "text_to_num", "cn2an", "proces"}
allowed |= set(sys.stdlib_module_names)
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.parametrize(
    "code",
    [
        f"from {MATH} import verify\nassert verify('0.5', r'\\boxed{{\\frac12}}')",
        f"from {MATH} import MathScorer\nMathScorer(order='ordered')",
        "from touchstone_rewards.reward_server.pool.pool import WorkerPool",
    ],
)
def test_it_needs_no_package_but_those_of_the_extra(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKING + code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_hostile_text_goes_to_worker_processes_with_a_deadline() -> None:
    async def score(samples: list[Sample]) -> list[float | None]:
        pool = WorkerPool({"math": ScorerSpec("math", {})}, workers=1, sample_deadline_s=5)
        await pool.start()
        try:
            return [score.value for score in await pool.score("math", samples)]
        finally:
            await pool.stop()

    samples = [Sample("a", "\\boxed{\\frac12}", ground_truth="0.5")]
    samples += [Sample("b", "\\boxed{" + "(A)" * 600 + "}", ground_truth="0.5")]
    assert asyncio.run(score(samples)) == [1.0, 0.0]
