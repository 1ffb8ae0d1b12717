"""Check that a response follows one of two known formats, both defined by the `tags` rule.

The score lies in [0, 1] and does not depend on whether the answer is right.
`python -m touchstone_rewards.reward_server.scorers.format` prints the table of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.rules.tags import TagsScorer

Style = Literal["think_answer", "r1_zero"]
Prefilled = Literal["none", "think", "auto"]

# think_answer: 0 unless both pairs are there, in either order; 1 with `\boxed{}` inside the answer,
# 0.5 without. Source: the format rule of the trl_GRPO project (README, "reward rules"). r1_zero: 1
# iff `</think> <answer>`, with one space, is followed by `</answer>`; the opening tag is part of
# the prompt. Source: `r1_zero_reward_fn` of understand-r1-zero, as the GSM8K study uses it.
STYLES: dict[Style, dict[str, Any]] = {
    "think_answer": {"order": "any", "gap": "any", "boxed_in": "answer"},
    "r1_zero": {"gap": "one_space", "prefilled": "think"},
}
_LOOSE: dict[str, Any] = {
    "tags": ["think", "answer"],
    "once": False,
    "outside": "any",
    "filled": False,
}


class FormatScorer:
    """Score the `tags` rule under the name of a style."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: Literal["inline"] = "inline"
    reads: tuple[str, ...] = ("response",)

    def __init__(
        self,
        style: Annotated[Style, Field(description="the required tags and their order")] = (
            "think_answer"
        ),
        collapse_whitespace: Annotated[
            bool, Field(description="read any white space between the tags as one space")
        ] = False,
        prefilled: Annotated[
            Prefilled,
            Field(description="tag that the prompt already opens; auto: if the prompt ends so"),
        ] = "none",
    ) -> None:
        if style not in get_args(Style):
            raise ValueError(f"style {style!r} is not one of {', '.join(get_args(Style))}")
        if prefilled not in get_args(Prefilled):
            raise ValueError(f"prefilled {prefilled!r} is not one of none, think, auto")
        config = {"prefilled": prefilled} | _LOOSE | STYLES[style]
        if collapse_whitespace and config["gap"] == "one_space":
            config["gap"] = "some_spaces"
        self.tags = TagsScorer(**config)
        self.reads = self.tags.reads

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return self.tags.score(samples, explain=explain)


# (style, response, score): the rules by example, checked by the tests and printed by `main`.
CASES: list[tuple[Style, str, float]] = [
    ("think_answer", r"<think>2+2</think><answer>\boxed{4}</answer>", 1.0),
    ("think_answer", "<think>a\nb</think>\n<answer>so\n\\boxed{4}\n</answer>", 1.0),
    ("think_answer", r"<think>x</think><answer>\boxed{\frac{1}{2}}</answer>", 1.0),
    ("think_answer", r"<answer>\boxed{4}</answer><think>order is not checked</think>", 1.0),
    ("think_answer", "<think>2+2</think><answer>4</answer>", 0.5),
    ("think_answer", r"<think>\boxed{4}</think><answer>4</answer>", 0.5),
    ("think_answer", r"<think>x</think><answer>4</answer>\boxed{4}", 0.5),
    ("think_answer", r"<think>2+2</think>\boxed{4}", 0.0),
    ("think_answer", r"<answer>\boxed{4}</answer>", 0.0),
    ("think_answer", r"<think>never closed <answer>\boxed{4}</answer>", 0.0),
    ("think_answer", r"<think>x</think><answer>\boxed{4}", 0.0),
    ("think_answer", "</think>x<think></answer>4<answer>", 0.0),
    ("think_answer", "4", 0.0),
    ("think_answer", "", 0.0),
    ("r1_zero", " 12+7=19 </think> <answer> 19 </answer>", 1.0),
    ("r1_zero", "<think> 12+7=19 </think> <answer> \\boxed{19} </answer>", 1.0),
    ("r1_zero", "</think> <answer></answer>", 1.0),
    ("r1_zero", " 19 </think><answer> 19 </answer>", 0.0),
    ("r1_zero", " 19 </think>\n<answer> 19 </answer>", 0.0),
    ("r1_zero", " 19 </think> <answer> 19", 0.0),
    ("r1_zero", "</answer> 19 </think> <answer> 19", 0.0),
    ("r1_zero", "<answer> 19 </answer>", 0.0),
    ("r1_zero", "19", 0.0),
]


def main() -> None:
    for style, response, expected in CASES:
        [score] = FormatScorer(style).score([Sample("", response)], explain=True)
        value, reason = score.value, (score.explanation or {})["rule"]
        verdict = "" if value == expected else f"  EXPECTED {expected}"
        print(f"{style:13} {value:.1f}  {response!r:66} {reason}{verdict}")


if __name__ == "__main__":
    main()
