"""Math equivalence: decide whether the final answer of a response equals the ground truth.

`extract` finds the answer, `normalize` and `parse` read it, `equal` decides; `scorer` is the scorer
of the server. Text is never evaluated as code.
"""

from __future__ import annotations

from touchstone_rewards.reward_server.scorers.math.equal import (
    UnreadableGroundTruth,
    Verdict,
    math_check,
    math_equal,
    verify,
)
from touchstone_rewards.reward_server.scorers.math.extract import extract_boxed_answer
from touchstone_rewards.reward_server.scorers.math.grammar.normalize import (
    normalize_math_expression,
)
from touchstone_rewards.reward_server.scorers.math.policy import Policy
from touchstone_rewards.reward_server.scorers.math.scorer import MathScorer

__all__ = [
    "MathScorer",
    "Policy",
    "UnreadableGroundTruth",
    "Verdict",
    "extract_boxed_answer",
    "math_check",
    "math_equal",
    "normalize_math_expression",
    "verify",
]
