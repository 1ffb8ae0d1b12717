"""The parts of a story's score that need no model: format, length, repetition, copying, signals.

In: a sample. Out: a `Score` in [0, 1], with what was measured. What the sample lacks is
`missing_field`; what the model got wrong is a low score. Linear time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal, NamedTuple

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample, SampleError, is_list
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.story import context
from touchstone_rewards.reward_server.scorers.story.language import (
    language,
    ordered_share,
    read_pairs,
)
from touchstone_rewards.reward_server.scorers.story.text import (
    copied,
    known_of,
    names,
    read,
    repeated,
    size,
    templated,
    terms,
    terms_of,
    told,
    units,
)

REPEATED_UNITS = 3
# Of a name; what is longer counts as text.
NAME_CHARACTERS = 24


def ramp(measured: float, zero_at: float, one_at: float) -> float:
    """0 up to `zero_at`, 1 from `one_at` on, a straight line between; either may be the larger."""
    return min(max((measured - zero_at) / (one_at - zero_at), 0.0), 1.0)


def check_numbers(config: dict[str, Any]) -> None:
    """Refuse what would make every score, or none, the same.

    Raises:
        ValueError: not a finite number, a ramp without slope, a width or count that is not above 0.
    """
    for name, value in config.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise ValueError(f"{name} is {value!r}; expected a number")
        if name in ("sigma", "full_at", "turns") and value <= 0:
            raise ValueError(f"{name} is {value!r}; expected more than 0")
    if config.get("zero_at", 0) == config.get("one_at", 1):
        raise ValueError("zero_at and one_at are the same; expected two numbers")


def fullness(count: int, full_at: float) -> float:
    """How much there is to judge: who says nothing has copied and repeated nothing either."""
    return min(count / full_at, 1.0)


def form(
    sample: Sample, *, fence: float = 0.15, parses: float = 0.25, schema: float = 0.60
) -> Score:
    """One ```json fence and nothing else, JSON inside, of the schema: the weights of those kept.

    Source: format reward of the story project's final code.
    """
    reading = read(sample.response)
    kept = {"fence": reading.fenced, "parses": reading.parsed, "schema": reading.turn is not None}
    weights = {"fence": fence, "parses": parses, "schema": schema}
    return Score(math.fsum(weights[name] for name in kept if kept[name]), explanation=kept)


def length(
    sample: Sample,
    *,
    least: float = 80,
    most: float = 100,
    sigma: float = 20.0,
    most_thought: float = 0,
) -> Score:
    """1 inside the window, a Gaussian of `sigma` outside; in words, or Chinese characters.

    Every character counts: signs, words longer than words are, names, and what stands before
    `</think>` beyond `most_thought` units.

    Source: length reward of the story project's final code.
    """
    reading = read(sample.response)
    named = sum(max(len(name) - NAME_CHARACTERS, 0) / 4 for name in names(reading.turn))
    thought = max(size(reading.thought) - most_thought, 0.0)
    count = size(reading.text) + named + thought
    off = max(least - count, count - most, 0.0)
    return Score(math.exp(-0.5 * (off / sigma) ** 2), explanation={"units": round(count, 2)})


def repetition(
    sample: Sample, *, zero_at: float = 0.5, one_at: float = 0.1, full_at: float = 40
) -> Score:
    """1 where nothing is said twice: by the share of runs of three units that were there before,
    or of the text that fills a form used before with other words, whichever is more."""
    text = told(sample.response)
    found = units(text)
    share = max(repeated(found, REPEATED_UNITS), templated(text))
    return _guarded(share, found, zero_at, one_at, full_at)


def own_phrases(
    sample: Sample,
    *,
    zero_at: float = 0.5,
    one_at: float = 0.15,
    full_at: float = 40,
    turns: int = 64,
) -> Score:
    """1 where the phrases are its own: by the share of runs of four units that stand in the
    setting, the history, the user's turn, or the target; also through words glued, torn apart,
    put in between or spelt with other alphabets (`text.copied`)."""
    earlier = context.earlier(sample, turns)
    if isinstance(earlier, SampleError):
        return Score(error=earlier)
    text = told(sample.response)
    known = known_of((*earlier, *context.targets(sample)))
    return _guarded(copied(text, known), units(text), zero_at, one_at, full_at)


def own_words(
    sample: Sample,
    *,
    zero_at: float = 0.9,
    one_at: float = 0.6,
    full_at: float = 40,
    turns: int = 8,
) -> Score:
    """1 where there are words beside those that were given: by the share of its terms that stand
    in the setting, the history or the user's turn."""
    earlier = context.earlier(sample, turns)
    if isinstance(earlier, SampleError):
        return Score(error=earlier)
    text = told(sample.response)
    given = _share(terms(text), terms_of(tuple(earlier)))
    return _guarded(given, units(text), zero_at, one_at, full_at)


def word_order(
    sample: Sample, *, zero_at: float = 0.05, one_at: float = 0.13, full_at: float = 40
) -> Score:
    """1 where words stand in an order that the story's language uses: by how much more often its
    neighbours are known in this order than in the reverse (`language.word_order`)."""
    told_before = context.story(sample, 2)
    if isinstance(told_before, SampleError):
        return Score(error=told_before)
    spoken, text = language(told_before[0]), told(sample.response)
    if language(text) != spoken:
        return Score(0.0, explanation={"rule": f"the story is in {spoken}, the response is not"})
    ordered = ordered_share(text, spoken)
    if ordered is None:
        message = f"the story is in {spoken}; word order is known for English and Chinese only"
        return Score(error=sample_error("unsupported_input", message))
    return _guarded(ordered, units(text), zero_at, one_at, full_at)


def next_episode(sample: Sample) -> Score:
    """1 where `next_episode` is the target's.

    Source: accuracy reward of the story project's final code.
    """
    came = sample.ground_truth
    if came is None:
        return Score(error=sample_error("missing_field", "ground_truth is not there"))
    expected = [read(str(one)).turn for one in (came if is_list(came) else [came])]
    known = [str(turn.next_episode) for turn in expected if turn is not None]
    if not known:
        message = "the ground truth is no story turn in JSON: it has no next_episode"
        return Score(error=sample_error("bad_ground_truth", message))
    turn = read(sample.response).turn
    chosen = None if turn is None else str(turn.next_episode)
    return Score(float(chosen in known), explanation={"next_episode": chosen, "expected": known})


def logprob_gain(
    sample: Sample, *, zero_at: float = 0.0, one_at: float = 0.5, first_turn: float = 0.5
) -> Score:
    """How much likelier the history made the response, in nats a token; `first_turn` is the score
    where there is no history to gain from."""
    tokens = _signal(sample, "history_tokens")
    if isinstance(tokens, SampleError):
        return Score(error=tokens)
    if tokens == 0:
        return Score(ramp(first_turn, 0.0, 1.0), explanation={"history_tokens": 0})
    return _from_signal(sample, "logprob_gain", zero_at, one_at)


def exp_neg_cre(sample: Sample, *, zero_at: float = 0.0, one_at: float = 1.0) -> Score:
    """exp(−CRE), as the trainer measured it.

    Source: the story project's final reward.
    """
    return _from_signal(sample, "exp_neg_cre", zero_at, one_at)


def info_flow(sample: Sample, *, zero_at: float = 0.0, one_at: float = 1.0) -> Score:
    """The information flow that CRE is weighted with, alone."""
    return _from_signal(sample, "info_flow", zero_at, one_at)


def _guarded(
    share: float, found: Sequence[str], zero_at: float, one_at: float, full_at: float
) -> Score:
    value = ramp(share, zero_at, one_at) * fullness(len(found), full_at)
    return Score(value, explanation={"share": round(share, 4), "units": len(found)})


def _share(found: frozenset[Any], known: frozenset[Any]) -> float:
    return len(found & known) / len(found) if found else 0.0


def _from_signal(sample: Sample, name: str, zero_at: float, one_at: float) -> Score:
    value = _signal(sample, name)
    if isinstance(value, SampleError):
        return Score(error=value)
    return Score(ramp(value, zero_at, one_at), explanation={name: value})


def _signal(sample: Sample, name: str) -> float | SampleError:
    value = sample.signals.get(name)
    message = f"signals.{name} is not there; the trainer measures it in its log-prob pass"
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            message = f"signals.{name} is an integer beyond what a float holds"
    return sample_error("missing_field", message)


class StoryRule(NamedTuple):
    """A function from a sample and its settings to a score, and the fields it looks at."""

    function: Callable[..., Score]
    reads: tuple[str, ...]


_CONTEXT = ("response", "metadata")
RULES = {
    "format": StoryRule(form, ("response",)),
    "length": StoryRule(length, ("response",)),
    "repetition": StoryRule(repetition, ("response",)),
    "own_phrases": StoryRule(own_phrases, (*_CONTEXT, "ground_truth")),
    "own_words": StoryRule(own_words, _CONTEXT),
    "word_order": StoryRule(word_order, _CONTEXT),
    "next_episode": StoryRule(next_episode, ("response", "ground_truth")),
    "logprob_gain": StoryRule(logprob_gain, ("signals",)),
    "exp_neg_cre": StoryRule(exp_neg_cre, ("signals",)),
    "info_flow": StoryRule(info_flow, ("signals",)),
}


class RulePart:
    """One of `RULES`, with its settings."""

    version = "2"
    range = (0.0, 1.0)
    runs_in: Literal["inline"] = "inline"

    def __init__(self, part: str, **config: Any) -> None:
        function, self.reads = RULES[part]
        settings = signature(function).bind(None, **config)
        settings.apply_defaults()
        check_numbers(settings.kwargs)
        if part == "word_order":
            read_pairs()
        self._rule = partial(function, **config)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        scores = [self._rule(sample) for sample in samples]
        return scores if explain else [Score(score.value, score.error) for score in scores]
