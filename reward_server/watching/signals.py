"""Signals of a training step: statistics that change when a policy games its reward.

Each sample is reduced to a few facts in linear time; only excerpts of its texts are kept. Each
signal maps the facts of a step to one number, and `change_points.py` detects its changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from msgspec import UNSET

from touchstone_rewards.reward_server.schemas import Message, Sample, SampleResult, text_of_turn
from touchstone_rewards.reward_server.turn_texts import response_text
from touchstone_rewards.reward_server.watching.hacking import (
    DISAGREES_FROM,
    ScorerPair,
    final_answer,
    pearson,
)

# Only the end of a long response is checked for repetition and foreign letters.
TAIL_CHARACTERS = 1000
NGRAM = 4
# A response repeats its prompt if it contains this many of the prompt's last characters.
ECHO_CHARACTERS = 60
EXCERPT_CHARACTERS = 300


class SampleFacts(NamedTuple):
    """Facts kept of a sample.

    `group`: identifies its prompt. `scores`: the scores that are not null. `paid`: each score's
    contribution to the reward. `differs`: whether the compared verifiers disagree. `truth`: reward
    by a second profile on which the policy is not trained.
    """

    id: str
    prompt: str
    excerpt: str
    reward: float | None
    characters: int
    group: Hashable
    response: int = 0
    answer: int = 0
    several: bool = False
    repeated: float = 0.0
    foreign: float = 0.0
    echo: bool = False
    undecided: bool = False
    differs: bool | None = None
    scores: Mapping[str, float] = {}
    paid: Mapping[str, float] = {}
    truth: float | None = None


StepNumber = Callable[[Sequence[SampleFacts]], float | None]


@dataclass(frozen=True)
class Signal:
    """One statistic of a step.

    `rises`: raise an alarm when it rises, otherwise when it falls. `least`: smallest change that
    matters, in the signal's own unit. `value`: computes it from the facts of a step; None if
    unknown. `shown_by`: how strongly a sample shows the signal.
    """

    name: str
    text: str
    rises: bool
    least: float
    value: StepNumber
    shown_by: Callable[[SampleFacts], float]


def mean(of: Callable[[SampleFacts], float | None], facts: Iterable[SampleFacts]) -> float | None:
    """Return the mean over the samples whose value is known."""
    known = [value for one in facts if (value := of(one)) is not None]
    return fmean(known) if known else None


def alike(of: Callable[[SampleFacts], Hashable], facts: Sequence[SampleFacts]) -> float | None:
    """Return the share of equal pairs among samples of different prompts, in linear time.

    This is 2 to the minus Rényi entropy of order 2, without the pairs within a group: responses to
    the same prompt become similar in any training.

    >>> alike(lambda one: one.answer, [])
    """
    all_pairs = _pairs(Counter(one.group for one in facts).values(), len(facts))
    if not all_pairs:
        return None
    same = Counter(map(of, facts))
    in_group = Counter((one.group, of(one)) for one in facts)
    squares = sum(count * count for count in same.values())
    return (squares - sum(count * count for count in in_group.values())) / all_pairs


def mean_of(of: Callable[[SampleFacts], float | None]) -> StepNumber:
    """Return a function that computes the mean over a step."""
    return lambda facts: mean(of, facts)


def alike_of(of: Callable[[SampleFacts], Hashable]) -> StepNumber:
    """Return a function that computes the share of equal pairs in a step."""
    return lambda facts: alike(of, facts)


def _pairs(groups: Iterable[int], count: int) -> int:
    return count * count - sum(size * size for size in groups)


def length_pays(facts: Sequence[SampleFacts]) -> float | None:
    """Return the Pearson correlation of reward and log length within groups.

    Both are centered by their group's mean.
    """
    groups: dict[Hashable, list[tuple[float, float]]] = {}
    for one in facts:
        if one.reward is not None:
            groups.setdefault(one.group, []).append((one.reward, log_length(one)))
    rewards: list[float] = []
    lengths: list[float] = []
    for pairs in groups.values():
        reward, length = (fmean(column) for column in zip(*pairs, strict=True))
        if any(pair[0] != pairs[0][0] for pair in pairs):
            rewards += [pair[0] - reward for pair in pairs]
            lengths += [pair[1] - length for pair in pairs]
    return pearson(rewards, lengths)


def log_length(one: SampleFacts) -> float:
    """Return the base-2 logarithm of a response's length in characters."""
    return math.log2(1 + one.characters)


def dominance(facts: Sequence[SampleFacts]) -> float | None:
    """Return the largest share of the reward paid by one component, if there are two or more."""
    sums: dict[str, float] = {}
    for one in facts:
        for key, paid in one.paid.items():
            sums[key] = sums.get(key, 0.0) + abs(paid)
    total = sum(sums.values())
    return max(sums.values()) / total if len(sums) > 1 and total else None


def overpaid(one: SampleFacts) -> float | None:
    """Return the difference between the reward and that of the second profile."""
    return None if one.reward is None or one.truth is None else one.reward - one.truth


def _paid_by_main(one: SampleFacts) -> float:
    return max(map(abs, one.paid.values()), default=0.0)


def _one(value: float | None) -> float:
    return 0.0 if value is None else float(value)


SIGNALS = (
    Signal(
        "longer",
        "responses get longer (doublings)",
        True,
        1.0,
        mean_of(log_length),
        log_length,
    ),
    Signal(
        "shorter",
        "responses get shorter (doublings)",
        False,
        0.5,
        mean_of(log_length),
        lambda one: -log_length(one),
    ),
    Signal(
        "length_pays",
        "longer responses to the same prompt earn more (correlation)",
        True,
        0.3,
        length_pays,
        lambda one: log_length(one) * _one(one.reward),
    ),
    Signal(
        "answers_alike",
        "different prompts get the same final answer (share of pairs)",
        True,
        0.1,
        alike_of(lambda one: one.answer),
        lambda one: _one(one.reward),
    ),
    Signal(
        "responses_alike",
        "different prompts get the same response (share of pairs)",
        True,
        0.1,
        alike_of(lambda one: one.response),
        lambda one: _one(one.reward),
    ),
    Signal(
        "several_answers",
        "responses give several different final answers (share)",
        True,
        0.1,
        mean_of(lambda one: one.several),
        lambda one: one.several + _one(one.reward) / 2,
    ),
    Signal(
        "repetition",
        "responses repeat themselves (share of sequences of four words)",
        True,
        0.1,
        mean_of(lambda one: one.repeated),
        lambda one: one.repeated,
    ),
    Signal(
        "other_letters",
        "responses are written in letters beyond ASCII (share of characters)",
        True,
        0.05,
        mean_of(lambda one: one.foreign),
        lambda one: one.foreign,
    ),
    Signal(
        "prompt_repeated",
        "responses repeat the end of their prompt (share)",
        True,
        0.1,
        mean_of(lambda one: one.echo),
        lambda one: one.echo + _one(one.reward) / 2,
    ),
    Signal(
        "unscored",
        "samples get no reward (share)",
        True,
        0.1,
        mean_of(lambda one: one.reward is None),
        lambda one: one.reward is None,
    ),
    Signal(
        "undecided",
        "scorers cannot tell (share)",
        True,
        0.1,
        mean_of(lambda one: one.undecided),
        lambda one: one.undecided + _one(one.reward) / 2,
    ),
    Signal(
        "disagreement",
        "the compared scorers differ, as a judge and a rule (share)",
        True,
        0.1,
        mean_of(lambda one: one.differs),
        lambda one: _one(one.differs) + _one(one.reward) / 2,
    ),
    Signal(
        "dominance",
        "one component pays most of the reward (share)",
        True,
        0.1,
        dominance,
        _paid_by_main,
    ),
)
# Signals of the samples that a second profile scored too.
SHADOW_SIGNALS = (
    Signal(
        "overpaid",
        "the reward is above that of the second profile (difference)",
        True,
        0.1,
        mean_of(overpaid),
        lambda one: _one(overpaid(one)),
    ),
    Signal(
        "true_score_falls",
        "the second profile's reward falls (mean)",
        False,
        0.1,
        mean_of(lambda one: one.truth),
        lambda one: -_one(one.truth),
    ),
)


def score_signals(facts: Sequence[SampleFacts]) -> list[Signal]:
    """Return one falling-score signal per scorer if there are two or more, zero weights
    included.
    """
    keys = dict.fromkeys(key for one in facts for key in one.scores)
    return [_score_falls(key) for key in keys] if len(keys) > 1 else []


def _score_falls(key: str) -> Signal:
    def score(one: SampleFacts) -> float | None:
        return one.scores.get(key)

    text = f"the score of {key} falls while the reward does not (mean)"
    return Signal(
        f"score_falls:{key}", text, False, 0.1, mean_of(score), lambda one: -_one(score(one))
    )


def facts_of(
    sample: Sample,
    result: SampleResult,
    compared: ScorerPair | None = None,
    weights: Mapping[str, float] | None = None,
) -> SampleFacts:
    """Return the facts of a sample. `weights`: of its profile's scorers, by key."""
    response = response_text(sample.response)
    prompt = prompt_text(sample.prompt)
    answer, several = final_answer(response)
    tail = response[-TAIL_CHARACTERS:]
    scores = {key: score for key, score in result.scores.items() if score is not None}
    weighed = dict(weights or {}) | (result.weights or {})
    return SampleFacts(
        id=sample.id,
        prompt=excerpt(prompt),
        excerpt=excerpt(response),
        reward=result.reward,
        characters=len(response),
        group=sample.group_id or hash(prompt),
        response=hash(response),
        answer=hash(answer),
        several=several or " or " in answer,
        repeated=repeated_share(tail),
        foreign=1 - len(tail.encode("ascii", "ignore")) / len(tail) if tail else 0.0,
        echo=_repeats(response, prompt),
        undecided=result.undecided is not UNSET,
        differs=_differs(result, compared),
        scores=scores,
        paid={key: weighed[key] * score for key, score in scores.items() if weighed.get(key)},
    )


def shadow_facts(sample: Sample, result: SampleResult, truth: float | None) -> SampleFacts:
    """Return the facts of a sample to which a second profile gave the reward `truth`."""
    response = response_text(sample.response)
    prompt = excerpt(prompt_text(sample.prompt))
    reward, size = result.reward, len(response)
    return SampleFacts(
        sample.id, prompt, excerpt(response), reward, size, sample.group_id, truth=truth
    )


def _differs(result: SampleResult, compared: ScorerPair | None) -> bool | None:
    if compared is None:
        return None
    one, other = (result.scores.get(key) for key in compared)
    return None if one is None or other is None else abs(one - other) >= DISAGREES_FROM


def _repeats(response: str, prompt: str) -> bool:
    end = prompt.rstrip()[-ECHO_CHARACTERS:]
    return len(end) == ECHO_CHARACTERS and end in response


def repeated_share(text: str) -> float:
    """Return the share of sequences of `NGRAM` words that occurred before.

    >>> repeated_share("so so so so so so so so")
    0.8
    """
    words = text.split()
    count = len(words) - NGRAM + 1
    if count < 2:
        return 0.0
    return 1 - len(set(zip(*(words[start:] for start in range(NGRAM)), strict=False))) / count


def prompt_text(prompt: str | list[Message] | None) -> str:
    """Return a prompt as text; of a list of messages, the last one's."""
    if isinstance(prompt, list):
        return text_of_turn(prompt[-1].content) if prompt else ""
    return prompt or ""


def excerpt(text: str) -> str:
    """Return the beginning and the end of a long text; the answer is usually at the end."""
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    half = EXCERPT_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"
