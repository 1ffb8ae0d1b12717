"""Does the reward tell a right answer from a wrong one? Asked before the first step.

In: rows with ground truths. Out: the samples to score, and from their results a sentence, or a
refusal that says what each answer scored and why. No model is asked. Pure: the caller scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from touchstone_rewards.clients.errors import PreflightFailed
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Sample, is_list

# The forms in which profiles read an answer, the fullest first.
FORMS = (
    "<think> This is known. </think> <answer> \\boxed{ANSWER} </answer>",
    "<think> This is known. </think> <answer> ANSWER </answer>",
    "The answer is \\boxed{ANSWER}.",
    "ANSWER",
)
THINK = "<think>"
NO_ANSWER = "I do not know."
ROWS = 4
BOXES = ("\\boxed{", "\\fbox{")
LONG_WORDS = 12
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NEXT_LETTER = str.maketrans(
    LETTERS + LETTERS.upper(), LETTERS[1:] + "a" + LETTERS[1:].upper() + "A"
)
SHOWN_CHARACTERS = 400


class Trial(NamedTuple):
    """A form, and the results of answers in it, a row each: right, wrong, both of them together,
    all candidates in a list. `nothing`: that of a response without an answer, of the first row."""

    form: str
    right: Sequence[ScoreResult | None]
    wrong: Sequence[ScoreResult | None]
    both: Sequence[ScoreResult | None]
    listed: Sequence[ScoreResult | None]
    nothing: ScoreResult | None


def forms_for(prompt_end: str) -> tuple[str, ...]:
    """Return the forms to try. Where the prompt ends with the opening tag, the model does not write
    it again: those forms come without it first, and whole at the end."""
    if not prompt_end.rstrip().endswith(THINK):
        return FORMS
    tagged = tuple(form for form in FORMS if form.startswith(THINK))
    return (*(form.removeprefix(THINK) for form in FORMS), *tagged)


def trial_samples(rows: Sequence[Sample], forms: Sequence[str] = FORMS) -> list[Sample]:
    """Return answers to the rows in every form, to be scored in one call: those of a `Trial`.

    Raises:
        PreflightFailed: the ground truths are the questions.
    """
    if rows and all(_is_asked(row) for row in rows):
        raise PreflightFailed(
            "preflight: the ground truths stand in the prompts word for word, as in "
            f"{str(rows[0].ground_truth)[:SHOWN_CHARACTERS]!r}: is ground_truth_column the column "
            "of the questions? (With preflight false it trains all the same.)"
        )
    return [sample for form in forms for sample in _answers(form, rows)]


def _answers(form: str, rows: Sequence[Sample]) -> list[Sample]:
    right = [answer_of(row.ground_truth) for row in rows]
    wrong = [wrong_of(text) for text in right]
    both = [f"{no} or {yes}" for yes, no in zip(right, wrong, strict=True)]
    listed = [", ".join(dict.fromkeys([*wrong, *right]))] * len(rows)
    found = [
        replace(row, response=form.replace("ANSWER", text))
        for texts in (right, wrong, both, listed)
        for row, text in zip(rows, texts, strict=True)
    ]
    return [*found, *(replace(row, response=NO_ANSWER) for row in rows[:1])]


def _is_asked(row: Sample) -> bool:
    """Is the ground truth a question, or a long text, of the prompt itself?"""
    truth = str(row.ground_truth).strip()
    long = truth.endswith(("?", "？")) or len(truth.split()) >= LONG_WORDS
    texts = [row.prompt] if isinstance(row.prompt, str) else [m.content for m in row.prompt or ()]
    return long and any(truth in str(text) for text in texts)


def answer_of(truth: Any) -> str:
    """Return the answer in a ground truth: what follows #### in GSM8K's, what the last box of a
    worked solution holds, the first of several."""
    if is_list(truth):
        truth = truth[0] if truth else ""
    text = str(truth).rpartition("####")[2].strip()
    boxed = _last_box(text)
    return text if boxed is None else boxed


def _last_box(text: str) -> str | None:
    """What the last box holds, its braces balanced; None without a whole one."""
    start = max(text.rfind(mark) + len(mark) if mark in text else -1 for mark in BOXES)
    if start < 0:
        return None
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place].strip()
    return None


def wrong_of(answer: str) -> str:
    """Return another answer of the same length, so that a reward for length sees no difference.

    The first digit becomes another one, so that no tolerance takes it for the same number; without
    a digit every letter becomes the next one.

    Example:
        wrong_of("46"), wrong_of("True")  # "56", "Usvf"
    """
    place = next((n for n, letter in enumerate(answer) if letter in "0123456789"), None)
    if place is not None:
        digit = int(answer[place])
        return f"{answer[:place]}{digit + 1 if digit < 9 else 8}{answer[place + 1 :]}"
    wrong = answer.translate(NEXT_LETTER)
    return wrong if wrong != answer else f"{answer}7"


def verdict(
    rows: int,
    results: Sequence[ScoreResult | None],
    profile: str,
    forms: Sequence[str] = FORMS,
) -> str:
    """Return a line for the reader; `results` are those of `trial_samples` of so many rows.

    Raises:
        PreflightFailed: no answer got a reward, or right and wrong ones got the same in every form,
            or the profile wants a tag that the prompt has already.
    """
    trials = _trials(rows, results, forms)
    _check_prefilled(trials, profile)
    codes = {_code(result) for result in results}
    if codes == {"missing_field"}:
        return f"preflight: {profile} needs what only training has (signals): not tried"
    if all(_reward(result) is None for result in results):
        raise PreflightFailed(f"preflight: no answer got a reward from {profile}.{_shown(trials)}")
    turned_round = ""
    for trial in trials:
        above, below = _above_and_below(trial)
        means = [_mean(side) for side in (trial.right, trial.wrong)]
        what = f"{rows} rows as {trial.form!r} (mean reward {means[0]:g} and {means[1]:g})"
        if above > below:
            more = f"; wrong ones get more in {below}" if below else ""
            return (
                f"preflight: {profile} tells right from wrong in {above} of {what}{more}"
                f"{_without_reward(trial)}{_hedged(trial)}"
            )
        if below:
            turned_round = turned_round or f"{below} of {what}"
    if turned_round:
        raise PreflightFailed(
            f"preflight: {profile} gives wrong answers more than right ones in {turned_round}: it "
            "would be learnt the wrong way round. Is ground_truth_column the right one, and the "
            f"sign of the weights? (With preflight false it trains all the same.){_shown(trials)}"
        )
    for trial in trials:
        if _mean(trial.right) != _reward(trial.nothing):
            return f"preflight: {profile} looks at the form alone: wrong answers in it get as much"
    raise PreflightFailed(
        f"preflight: {profile} gives right and wrong answers the same reward: nothing could be "
        "learnt. Is ground_truth_column the right one, and the profile? (With preflight false it "
        f"trains all the same.){_shown(trials)}"
    )


def _above_and_below(trial: Trial) -> tuple[int, int]:
    """In how many rows the right answer gets more than the wrong one, and less."""
    rewards = [(_reward(x), _reward(y)) for x, y in zip(trial.right, trial.wrong, strict=False)]
    gaps = [right - wrong for right, wrong in rewards if right is not None and wrong is not None]
    return sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)


def _hedged(trial: Trial) -> str:
    """A warning where several answers together get as much as the right one alone, in rows where
    that one gets more than the wrong one."""
    told = [
        name
        for name, results in (
            ("a wrong answer beside the right one", trial.both),
            ("a list of all candidates", trial.listed),
        )
        if any(map(_pays, trial.right, trial.wrong, results))
    ]
    if not told:
        return ""
    return (
        f". Warning: {' and '.join(told)} earns as much as the right answer: a policy learns to "
        "name every candidate; `reward-server audit` lists what else it accepts"
    )


def _pays(right: ScoreResult | None, wrong: ScoreResult | None, other: ScoreResult | None) -> bool:
    """Tell whether the other gets as much as the right one, and the wrong one gets less."""
    rewards = [reward for each in (wrong, right, other) if (reward := _reward(each)) is not None]
    return len(rewards) == 3 and rewards[0] < rewards[1] <= rewards[2]


def _without_reward(trial: Trial) -> str:
    """How many right answers got no reward, and why the first of them."""
    lost = [each for each in trial.right if _reward(each) is None]
    return f"; {len(lost)} got none: {_why(lost[0])}" if lost else ""


def _check_prefilled(trials: Sequence[Trial], profile: str) -> None:
    """Raise PreflightFailed if the right answers get less without the tag that the prompt has."""
    by_form = {trial.form: _mean(trial.right) for trial in trials}
    for form, without in by_form.items():
        if by_form.get(THINK + form, without) > without:
            raise PreflightFailed(
                f"preflight: the prompts end with {THINK}, so that no response has it, and profile "
                f"{profile} wants it there: right answers get {without:g} as {form!r} and "
                f"{by_form[THINK + form]:g} as {THINK + form!r}. Say `prefilled: think` in the "
                "config of its format scorer"
            )


def _trials(rows: int, results: Sequence[ScoreResult | None], forms: Sequence[str]) -> list[Trial]:
    """One a form. A profile that looks at the form alone tells only the response without an answer
    from the others."""
    size = 4 * rows + 1
    trials: list[Trial] = []
    for at, form in enumerate(forms):
        *scored, nothing = results[at * size : (at + 1) * size]
        right, wrong, both, listed = (scored[i * rows : (i + 1) * rows] for i in range(4))
        trials.append(Trial(form, right, wrong, both, listed, nothing))
    return trials


def _reward(result: ScoreResult | None) -> float | None:
    return None if result is None else result.reward


def _code(result: ScoreResult | None) -> str | None:
    if result is None:
        return "unavailable"
    return result.error.code if result.error else None


def _mean(results: Sequence[ScoreResult | None]) -> float:
    """Of those that have a reward; NaN where none has."""
    rewards = [reward for each in results if (reward := _reward(each)) is not None]
    return sum(rewards) / len(rewards) if rewards else float("nan")


def _shown(trials: Sequence[Trial]) -> str:
    """What the first row's answers got in every form, and why."""
    lines = [
        f"\n  {name} as {trial.form!r}: {_why(side[0])}"
        for trial in trials
        for name, side in (("right", trial.right), ("wrong", trial.wrong))
    ]
    return "".join(lines)


def _why(result: ScoreResult | None) -> str:
    """Reward and explanation, or the error."""
    if result is None:
        return "no reward (unavailable: no answer in time, or none that could be understood)"
    if result.error is not None:
        return f"no reward ({result.error.code}: {result.error.message})"
    return f"reward {result.reward} {str(result.explanation or '')[:SHOWN_CHARACTERS]}"
