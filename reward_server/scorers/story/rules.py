"""Parts of a story's score that need no model: format, length, repetition, copying, signals.

Each rule maps a sample to a `Score` in [0, 1] with an explanation, in linear time. A field missing
from the sample is a `missing_field` error; a mistake of the model is a low score.
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
    order_of,
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
# Letters of a speaker's name beyond this many count as text.
NAME_CHARACTERS = 24


def ramp(measured: float, zero_at: float, one_at: float) -> float:
    """Map a measurement linearly to [0, 1]: 0 at `zero_at` and beyond, 1 at `one_at` and beyond.

    Either end may be the larger one.

    Example:
        >>> ramp(0.3, 0.5, 0.1)
        0.5
    """
    return min(max((measured - zero_at) / (one_at - zero_at), 0.0), 1.0)


def check_numbers(config: dict[str, Any]) -> None:
    """Refuse settings that make no sense.

    Raises:
        ValueError: a value is not a finite number, a ramp has no slope, a width or count is not
            positive.
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
    """Return how much of `full_at` is there, at most 1.

    Scales the guards, so that an empty response earns nothing for copying nothing.
    """
    return min(count / full_at, 1.0)


def form(
    sample: Sample, *, fence: float = 0.15, parses: float = 0.25, schema: float = 0.60
) -> Score:
    """Score the format: the sum of the weights for one ```json fence and nothing beside it, for
    valid JSON inside, and for JSON of the schema.

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
    """Score the length in words or Chinese characters: 1 from `least` to `most`, a Gaussian with
    standard deviation `sigma` outside.

    Every character counts: punctuation, overlong words, names, and thoughts before `</think>`
    beyond `most_thought` units.

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
    """Score the absence of repetition.

    Measured is the share of runs of three units that occurred before, or the share of the text in
    clauses that fill a repeated template with other words, whichever is larger.
    """
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
    """Score the absence of copied phrases.

    Measured is the share of runs of four units that also occur in the setting, the history, the
    user's turn or the target. Words that are glued, torn apart, interleaved with filler or spelled
    with lookalike letters are recognized too (`text.copied`).
    """
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
    """Score the use of new words, by the share of terms that also occur in the setting, the
    history or the user's turn."""
    earlier = context.earlier(sample, turns)
    if isinstance(earlier, SampleError):
        return Score(error=earlier)
    text = told(sample.response)
    given = _share(terms(text), terms_of(tuple(earlier)))
    return _guarded(given, units(text), zero_at, one_at, full_at)


def word_order(
    sample: Sample, *, zero_at: float = 0.05, one_at: float = 0.13, full_at: float = 40
) -> Score:
    """Score whether the words stand in an order that the story's language uses
    (`language.order_of`); 0 for a response in another language than the story.

    A short text has the benefit of the doubt: it loses what so few words make certain.
    """
    told_before = context.story(sample, 2)
    if isinstance(told_before, SampleError):
        return Score(error=told_before)
    spoken, text = language("\n".join(told_before)), told(sample.response)
    if language(text) != spoken:
        return Score(0.0, explanation={"rule": f"the story is in {spoken}, the response is not"})
    order = order_of(text, spoken)
    if order is None:
        message = f"the story is in {spoken}; word order is known for English and Chinese only"
        return Score(error=sample_error("unsupported_input", message))
    score = _guarded(order.share + order.doubt, units(text), zero_at, one_at, full_at)
    said = {"share": round(order.share, 4), "doubt": round(order.doubt, 4)}
    return Score(score.value, explanation={**(score.explanation or {}), **said})


def next_episode(sample: Sample) -> Score:
    """Score 1 if `next_episode` equals the target's, else 0.

    Source: accuracy reward of the story project's final code.
    """
    came = sample.ground_truth
    if came is None:
        return Score(error=sample_error("missing_field", "ground_truth is missing"))
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
    """Score how much likelier the history made the response, in nats per token.

    A first turn has no history to gain from and scores `first_turn`.
    """
    tokens = _signal(sample, "history_tokens")
    if isinstance(tokens, SampleError):
        return Score(error=tokens)
    if tokens == 0:
        return Score(ramp(first_turn, 0.0, 1.0), explanation={"history_tokens": 0})
    return _from_signal(sample, "logprob_gain", zero_at, one_at)


def exp_neg_cre(sample: Sample, *, zero_at: float = 0.0, one_at: float = 1.0) -> Score:
    """Score exp(−CRE), as the trainer measured it.

    Source: the story project's final reward.
    """
    return _from_signal(sample, "exp_neg_cre", zero_at, one_at)


def info_flow(sample: Sample, *, zero_at: float = 0.0, one_at: float = 1.0) -> Score:
    """Score the information flow that weights the tokens in CRE."""
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
    message = f"signals.{name} is missing; the trainer measures it in its log-prob pass"
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            message = f"signals.{name} is an integer too large for a float"
    return sample_error("missing_field", message)


class StoryRule(NamedTuple):
    """A function that scores a sample with its settings, and the sample's fields that it reads."""

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
    """Scorer of one rule in `RULES`, with its settings."""

    version = "3"
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
