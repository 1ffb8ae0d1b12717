"""Before the first step: does the reward tell a right answer from a wrong one?

In: some rows, and what scores. Out: nothing, or a refusal that says what each answer scored and
why. The answers go the whole way of training's: client, server, mapping. No model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from datasets import Dataset

from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.rewards import RewardArguments, ScoreResult, error_of, score_texts

# The forms in which profiles read an answer, the fullest first.
FORMS = (
    "<think> This is known. </think> <answer> \\boxed{ANSWER} </answer>",
    "<think> This is known. </think> <answer> ANSWER </answer>",
    "The answer is \\boxed{ANSWER}.",
    "ANSWER",
)
NO_ANSWER = "I do not know."
SHOWN = 400


@dataclass
class PreflightArguments:
    """What is tried before training."""

    preflight: bool = field(
        default=True,
        metadata={
            "help": "Score known-right and known-wrong answers to some rows first, and do not "
            "train if they get the same reward."
        },
    )
    preflight_rows: int = field(default=4, metadata={"help": "Rows that this is tried on."})

    def __post_init__(self) -> None:
        if self.preflight_rows < 1:
            raise ValueError("preflight_rows must be 1 or more")


class Trial(NamedTuple):
    """A form, and the results of the right and of the wrong answer in it, a row each."""

    form: str
    right: Sequence[ScoreResult | None]
    wrong: Sequence[ScoreResult | None]


def check_rewards(
    rows: Dataset, scoring: Any, rewards: RewardArguments, arguments: PreflightArguments
) -> str:
    """What was found, in a line.

    Raises:
        RunFailed: no answer got a reward, or right and wrong ones got the same in every form.
    """
    if not arguments.preflight:
        return "preflight: skipped"
    column = rewards.ground_truth_column
    each: Any = rows
    known = (row for row in each if row[column] is not None)
    chosen: list[Any] = list(islice(known, arguments.preflight_rows))
    if not chosen:
        return f"preflight: skipped, no row has a {column}"
    trials = [try_form(form, chosen, scoring, rewards) for form in FORMS]
    return verdict(trials, rewards.reward_profile)


def try_form(
    form: str, rows: Sequence[dict[str, Any]], scoring: Any, rewards: RewardArguments
) -> Trial:
    """Right and wrong answers to the rows in one form, scored in one request."""
    answers = [answer_of(row[rewards.ground_truth_column]) for row in rows]
    # A digit more makes another number, and another anything: 46 becomes 467.
    texts = [form.replace("ANSWER", text) for text in answers]
    texts += [form.replace("ANSWER", f"{text}7") for text in answers]
    texts.append(NO_ANSWER)
    results = score_texts(scoring, rewards, [*rows, *rows, rows[0]], texts)
    wrong = results[len(rows) : -1]
    # A profile that looks at the form alone tells only this one from the others.
    return Trial(form, results[: len(rows)], [*wrong, results[-1]])


def answer_of(truth: Any) -> str:
    """The answer in a ground truth: what follows #### in GSM8K's, the first of several."""
    if isinstance(truth, list):
        truth = truth[0] if truth else ""
    return str(truth).rpartition("####")[2].strip()


def verdict(trials: Sequence[Trial], profile: str) -> str:
    """A line for the reader.

    Raises:
        RunFailed: as `check_rewards`.
    """
    results = [each for trial in trials for each in (*trial.right, *trial.wrong)]
    codes = {(error_of(result) or {}).get("code") for result in results}
    if codes == {"missing_field"}:
        return f"preflight: {profile} needs what only training has (signals): not tried"
    if all(reward_of(result) is None for result in results):
        raise RunFailed(f"preflight: no answer got a reward from {profile}.{shown(trials)}")
    for trial in trials:
        told = [
            (reward_of(a), reward_of(b)) for a, b in zip(trial.right, trial.wrong, strict=False)
        ]
        apart = sum(None not in pair and pair[0] != pair[1] for pair in told)
        if apart:
            means = [mean_reward(side) for side in (trial.right, trial.wrong[:-1])]
            return (
                f"preflight: {profile} tells right from wrong in {apart} of {len(told)} rows as "
                f"{trial.form!r} (mean reward {means[0]:g} and {means[1]:g})"
            )
    for trial in trials:
        if mean_reward(trial.right) != reward_of(trial.wrong[-1]):
            return f"preflight: {profile} looks at the form alone: wrong answers in it get as much"
    raise RunFailed(
        f"preflight: {profile} gives right and wrong answers the same reward: nothing could be "
        f"learnt. Is ground_truth_column the right one, and the profile? (--preflight false "
        f"trains all the same.){shown(trials)}"
    )


def reward_of(result: ScoreResult | None) -> float | None:
    """The reward, None where there is none."""
    return None if result is None else result.reward


def mean_reward(results: Sequence[ScoreResult | None]) -> float:
    """Of those that have one; NaN where none has."""
    rewards = [reward for each in results if (reward := reward_of(each)) is not None]
    return sum(rewards) / len(rewards) if rewards else float("nan")


def shown(trials: Sequence[Trial]) -> str:
    """What the first row's answers got in every form, and why."""
    lines = [
        f"\n  {name} as {trial.form!r}: {why(side[0])}"
        for trial in trials
        for name, side in (("right", trial.right), ("wrong", trial.wrong))
    ]
    return "".join(lines)


def why(result: ScoreResult | None) -> str:
    """Reward and explanation, or the error."""
    if (error := error_of(result)) is not None:
        return f"no reward ({error['code']}: {error['message']})"
    assert result is not None
    return f"reward {result.reward} {str(result.explanation or '')[:SHOWN]}"
