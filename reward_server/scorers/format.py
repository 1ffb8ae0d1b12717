"""Does a response keep to the format it was asked for? Rules on tags; no model, no ground truth.

In: responses. Out: a score in [0, 1] each. It does not look at whether the answer is right.
`python -m touchstone_rewards.reward_server.scorers.format` prints the rules' table of cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from touchstone_rewards.reward_server.schemas import Message, Sample, text_of_turn
from touchstone_rewards.reward_server.scorers.base import Score

Style = Literal["think_answer", "r1_zero"]
Prefilled = Literal["none", "think", "auto"]
THINK = "<think>"
_BOXED = re.compile(r"\\boxed\s*\{[^{}]*[{}]")
_GAP = re.compile(r"</think>\s+<answer>")


def between(text: str, opening: str, closing: str) -> str | None:
    """What stands in the last complete `opening`…`closing` pair of `text`, or None."""
    end = text.rfind(closing)
    start = text.rfind(opening, 0, end) if end >= 0 else -1
    return text[start + len(opening) : end] if start >= 0 else None


def think_answer(response: str) -> tuple[float, str]:
    """1.0, 0.5 or 0.0, and the rule that decided.

    0 unless `<think>…</think>` and `<answer>…</answer>` are both there, in either order; 1.0 with
    `\\boxed{}` inside the answer; 0.5 without it, also when the box stands outside.

    Source: the format rule of the trl_GRPO project (README, "reward rules").
    """
    answer = between(response, "<answer>", "</answer>")
    if between(response, "<think>", "</think>") is None:
        return 0.0, "no <think>…</think> pair"
    if answer is None:
        return 0.0, "no <answer>…</answer> pair"
    if _BOXED.search(answer):
        return 1.0, "both pairs, \\boxed{} inside <answer>"
    return 0.5, "both pairs, no \\boxed{} inside <answer>"


def r1_zero(response: str) -> tuple[float, str]:
    """1.0 iff `</think> <answer>`, with one space, is followed by `</answer>`; else 0.0.

    The opening `<think>` is not asked for: the prompt ends with it.

    Source: `r1_zero_reward_fn` of understand-r1-zero, as the GSM8K study uses it.
    """
    _, gap, tail = response.partition("</think> <answer>")
    if not gap:
        return 0.0, "no '</think> <answer>'"
    if "</answer>" not in tail:
        return 0.0, "no '</answer>' after '</think> <answer>'"
    return 1.0, "'</think> <answer>' … '</answer>'"


RULES: dict[Style, Callable[[str], tuple[float, str]]] = {
    "think_answer": think_answer,
    "r1_zero": r1_zero,
}


class FormatScorer:
    """Does the response keep to the tags that were asked for? `collapse_whitespace` reads any white
    space between the tags as one space.

    `prefilled`: does the prompt end with the opening `<think>`, so that no response has it?
    `think`: always; `auto`: where the sample's prompt is a text, or a chat's last turn, that ends
    so.
    """

    version = "1"
    range = (0.0, 1.0)
    runs_in: Literal["inline"] = "inline"
    reads: tuple[str, ...] = ("response",)

    def __init__(
        self,
        style: Style = "think_answer",
        collapse_whitespace: bool = False,
        prefilled: Prefilled = "none",
    ) -> None:
        if style not in RULES:
            raise ValueError(f"style {style!r} is not one of {', '.join(get_args(Style))}")
        if prefilled not in get_args(Prefilled):
            raise ValueError(
                f"prefilled {prefilled!r} is not one of {', '.join(get_args(Prefilled))}"
            )
        self.rule = RULES[style]
        self.collapse_whitespace = bool(collapse_whitespace)
        self.prefilled: Prefilled = prefilled
        if prefilled == "auto":
            self.reads = ("response", "prompt")

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        rule = self.rule
        responses = [self._whole(sample) for sample in samples]
        if self.collapse_whitespace:
            responses = [_GAP.sub("</think> <answer>", response) for response in responses]
        if not explain:
            return [Score(rule(response)[0]) for response in responses]
        verdicts = [rule(response) for response in responses]
        return [Score(value, explanation={"rule": reason}) for value, reason in verdicts]

    def _whole(self, sample: Sample) -> str:
        """The response with the tag that the prompt had, unless it begins with one of its own."""
        if self.prefilled == "none" or sample.response.lstrip().startswith(THINK):
            return sample.response
        if self.prefilled == "auto" and not _ends_with_tag(sample.prompt):
            return sample.response
        return THINK + sample.response


def _ends_with_tag(prompt: str | list[Message] | None) -> bool:
    if isinstance(prompt, list):
        prompt = text_of_turn(prompt[-1].content) if prompt else ""
    return (prompt or "").rstrip().endswith(THINK)


# style, response, score: the rules by example; the tests hold them, `main` prints them.
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
        value, reason = RULES[style](response)
        verdict = "" if value == expected else f"  EXPECTED {expected}"
        print(f"{style:13} {value:.1f}  {response!r:66} {reason}{verdict}")


if __name__ == "__main__":
    main()
