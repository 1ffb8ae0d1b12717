"""The preflight: check before the first step that a right answer gets more reward than a wrong one.

`trial_samples` makes right and wrong answers to rows with ground truths; the caller scores them;
`verdict` returns a sentence, or raises with the reward of each answer. No model is involved. Pure
functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from touchstone_rewards.clients.errors import PreflightFailed
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Sample, is_list

# The forms of an answer that profiles read, the most complete first.
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
    """The results of answers in one form. Each list has one result per row: for the right answer,
    the wrong one, both together, and a list of all candidates. `nothing` is the result of a
    response without an answer, for the first row."""

    form: str
    right: Sequence[ScoreResult | None]
    wrong: Sequence[ScoreResult | None]
    both: Sequence[ScoreResult | None]
    listed: Sequence[ScoreResult | None]
    nothing: ScoreResult | None


def forms_for(prompt_end: str) -> tuple[str, ...]:
    """Return the forms to try. If the prompt ends with the opening tag, the model does not repeat
    it, so the forms without the tag come first and those with it last."""
    if not prompt_end.rstrip().endswith(THINK):
        return FORMS
    tagged = tuple(form for form in FORMS if form.startswith(THINK))
    return (*(form.removeprefix(THINK) for form in FORMS), *tagged)


def trial_samples(rows: Sequence[Sample], forms: Sequence[str] = FORMS) -> list[Sample]:
    """Return the samples of one `Trial` per form, to be scored in one call.

    Raises:
        PreflightFailed: the ground truths are the questions.
    """
    if rows and all(_is_asked(row) for row in rows):
        raise PreflightFailed(
            "preflight: the prompts contain the ground truths word for word, as in "
            f"{str(rows[0].ground_truth)[:SHOWN_CHARACTERS]!r}: is ground_truth_column the column "
            "of the questions? (preflight=False trains anyway.)"
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
    """Return whether the ground truth is a question or a long text from the prompt itself."""
    truth = str(row.ground_truth).strip()
    long = truth.endswith(("?", "？")) or len(truth.split()) >= LONG_WORDS
    texts = [row.prompt] if isinstance(row.prompt, str) else [m.content for m in row.prompt or ()]
    return long and any(truth in str(text) for text in texts)


def answer_of(truth: Any) -> str:
    """Return the answer in a ground truth: the text after #### (GSM8K), the content of the last
    box of a worked solution, or the first of several answers."""
    if is_list(truth):
        truth = truth[0] if truth else ""
    text = str(truth).rpartition("####")[2].strip()
    boxed = _last_box(text)
    return text if boxed is None else boxed


def _last_box(text: str) -> str | None:
    """Return the content of the last box with balanced braces, or None."""
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
    """Return a different answer of the same length, so that a reward for length cannot tell them
    apart.

    The first digit is changed, so that the numbers differ by more than any tolerance. Without a
    digit, every letter is replaced by the next one.

    Example:
        >>> wrong_of("46"), wrong_of("True")
        ('56', 'Usvf')
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
    """Return a sentence about the results of `trial_samples` for `rows` rows.

    Raises:
        PreflightFailed: no answer got a reward; right answers never got more than wrong ones; or
            the profile expects a tag that the prompt already has.
    """
    trials = _trials(rows, results, forms)
    _check_prefilled(trials, profile)
    codes = {_code(result) for result in results}
    if codes == {"missing_field"}:
        return f"preflight: skipped, because {profile} needs signals, which only training has"
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
            f"preflight: {profile} rewards wrong answers more than right ones in {turned_round}: a "
            "policy would learn to answer wrongly. Check ground_truth_column and the sign of the "
            f"weights. (preflight=False trains anyway.){_shown(trials)}"
        )
    for trial in trials:
        if _mean(trial.right) != _reward(trial.nothing):
            return f"preflight: {profile} judges the form only: right and wrong answers score alike"
    raise PreflightFailed(
        f"preflight: {profile} gives right and wrong answers the same reward, so a policy could "
        "learn nothing. Check ground_truth_column and the profile. (preflight=False trains "
        f"anyway.){_shown(trials)}"
    )


def _above_and_below(trial: Trial) -> tuple[int, int]:
    """Count the rows in which the right answer gets more than the wrong one, and less."""
    rewards = [(_reward(x), _reward(y)) for x, y in zip(trial.right, trial.wrong, strict=False)]
    gaps = [right - wrong for right, wrong in rewards if right is not None and wrong is not None]
    return sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)


def _hedged(trial: Trial) -> str:
    """Return a warning if several answers in one response get as much as the right answer alone,
    in rows where the right answer gets more than the wrong one; else nothing."""
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
        f". Warning: {' and '.join(told)} earns as much as the right answer alone, so a policy may "
        "learn to name every candidate; `reward-server audit` finds more such responses"
    )


def _pays(right: ScoreResult | None, wrong: ScoreResult | None, other: ScoreResult | None) -> bool:
    """Return whether `other` gets as much as the right answer, and the wrong answer less."""
    rewards = [reward for each in (wrong, right, other) if (reward := _reward(each)) is not None]
    return len(rewards) == 3 and rewards[0] < rewards[1] <= rewards[2]


def _without_reward(trial: Trial) -> str:
    """Return how many right answers got no reward, and why the first one got none."""
    lost = [each for each in trial.right if _reward(each) is None]
    return f"; {len(lost)} got none: {_why(lost[0])}" if lost else ""


def _check_prefilled(trials: Sequence[Trial], profile: str) -> None:
    """Raise PreflightFailed if right answers need the tag that the prompt already has."""
    by_form = {trial.form: _mean(trial.right) for trial in trials}
    for form, without in by_form.items():
        if by_form.get(THINK + form, without) > without:
            raise PreflightFailed(
                f"preflight: the prompts end with {THINK}, so responses lack it, but profile "
                f"{profile} expects it there: right answers get {without:g} as {form!r} and "
                f"{by_form[THINK + form]:g} as {THINK + form!r}. Set `prefilled: think` in the "
                "config of its format scorer"
            )


def _trials(rows: int, results: Sequence[ScoreResult | None], forms: Sequence[str]) -> list[Trial]:
    """Return one trial per form from the results of `trial_samples`."""
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
    """Return the mean of the rewards; NaN if there is none."""
    rewards = [reward for each in results if (reward := _reward(each)) is not None]
    return sum(rewards) / len(rewards) if rewards else float("nan")


def _shown(trials: Sequence[Trial]) -> str:
    """Return a line per form with the results of the first row's answers."""
    lines = [
        f"\n  {name} as {trial.form!r}: {_why(side[0])}"
        for trial in trials
        for name, side in (("right", trial.right), ("wrong", trial.wrong))
    ]
    return "".join(lines)


def _why(result: ScoreResult | None) -> str:
    """Return the reward with its explanation, or the error."""
    if result is None:
        return "no reward (unavailable: no valid answer in time)"
    if result.error is not None:
        return f"no reward ({result.error.code}: {result.error.message})"
    return f"reward {result.reward} {str(result.explanation or '')[:SHOWN_CHARACTERS]}"
