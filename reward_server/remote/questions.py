"""Build the questions to a judge about a sample: one, or two for a pair in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.remote.prompts import (
    JudgePrompt,
    Rubric,
    mark_of,
    question_of,
    quoted,
    rubric_of,
)
from touchstone_rewards.reward_server.remote.verdicts import VerdictForm, VerdictWay, instruction
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.rules.rule import (
    ResponsePart,
    Unscorable,
    part_of,
    truths,
)


class Question(NamedTuple):
    """One question to the judge. `turned`: the response is second in the pair."""

    prompt: str
    rubric: Rubric
    turned: bool = False


def questions_of(
    sample: Sample,
    prompt: JudgePrompt,
    form: VerdictForm,
    way: VerdictWay,
    part: ResponsePart,
    most_chars: int,
) -> list[Question]:
    """Return the questions about a sample; none if its response is empty.

    `most_chars`: limit for each text; longer texts lose their middle.

    Raises:
        Unscorable: the sample lacks a field that the prompt needs.
    """
    rubric = rubric_of(sample.metadata) if form == "rubric" else Rubric([], [])
    accepted = truths(sample) if "ground_truth" in prompt.reads else []
    judged = part_of(sample.response, part)
    if judged is None or not judged.strip():
        return []
    values: dict[str, Any] = {
        "response": quoted(judged, most_chars),
        "question": quoted(question_of(sample.prompt), most_chars),
        "reference": quoted("\nor: ".join(accepted), most_chars),
        "criteria": [quoted(each, most_chars) for each in rubric.criteria],
        "metadata": sample.metadata,
        "mark": mark_of(judged),
        "instruction": instruction(form, way, len(rubric.criteria)),
    }
    if form != "pair":
        return [Question(prompt.fill(values), rubric)]
    other = _other(accepted, part)
    values |= {"mark": mark_of(f"{judged}\n{other}"), "other": quoted(other, most_chars)}
    turned = values | {"response": values["other"], "other": values["response"]}
    return [
        Question(prompt.fill(values), rubric),
        Question(prompt.fill(turned), rubric, turned=True),
    ]


def _other(accepted: Sequence[str], part: ResponsePart) -> str:
    """Return the response that the sample's own is compared with.

    Raises:
        Unscorable: the ground truth has none, or several.
    """
    other = part_of(accepted[0], part) if len(accepted) == 1 else None
    if other is None or not other.strip():
        message = "ground_truth must be the single response to compare with"
        raise Unscorable("bad_ground_truth", message)
    return other
