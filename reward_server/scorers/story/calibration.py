"""Ramps for an embedding model from labelled turns: own against other stories, copies, paraphrases.

In: turns, and what embeds texts. Out: `Ramps`. They are set on the tuning half of each language;
what they tell apart is reported for the other half too, with intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.story.embedded import COMPARISONS, cosines
from touchstone_rewards.reward_server.scorers.story.ramps import Centres, LanguageRamps
from touchstone_rewards.reward_server.scorers.story.text import parts_of, told

OTHERS, RESAMPLES, LEAST_TURNS = 5, 500, 20
# Of the turns that the ramps are set on: how many other stories' turns score above 0, how many own
# turns below 1, how many near-copies above 0.
OTHERS_ABOVE_0, OWN_BELOW_1, COPIES_ABOVE_0 = 0.75, 0.03, 0.1
Vectors = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


class LabelledTurn(NamedTuple):
    """A good turn of a story, as a sample; `retold` says again what the last turn told."""

    sample: Sample
    language: str
    split: str
    story: str
    retold: str = ""


def texts_of(turns: Sequence[LabelledTurn]) -> list[str]:
    """Every text that the measures below need, once."""
    found: dict[str, None] = {}
    for turn in turns:
        for part in ("coherence", "relevance", "novelty"):
            found.update(dict.fromkeys(_against(part, turn)))
        for text in (told(turn.sample.response), turn.retold, _last_turn(turn)):
            found.update(dict.fromkeys(parts_of(text)))
    return list(found)


def language_ramps(turns: Sequence[LabelledTurn], vectors: Vectors) -> LanguageRamps:
    """The ramps of one language, from its turns.

    Raises:
        ValueError: too few turns of either half, or own and other stories cannot be told apart.
    """
    halves = {half: [t for t in turns if t.split == half] for half in ("tuning", "test")}
    if fewer := [half for half, each in halves.items() if len(each) < LEAST_TURNS]:
        raise ValueError(f"fewer than {LEAST_TURNS} turns in the half {' and '.join(fewer)}")
    tuning = halves["tuning"]
    centres = Centres(
        _mean([v for t in tuning for v in _parts(told(t.sample.response), vectors)]),
        _mean([vectors[text] for t in tuning for text in _against("coherence", t)]),
    )
    measures = {half: _measured(each, vectors, centres) for half, each in halves.items()}
    ramps = _ramps(measures["tuning"])
    return LanguageRamps(centres, ramps, {half: _said(each) for half, each in measures.items()})


CosinesByMeasure = dict[str, list[list[float]]]


def _measured(
    turns: Sequence[LabelledTurn], vectors: Vectors, centres: Centres
) -> CosinesByMeasure:
    """Of each measure, a list of numbers a turn."""

    def held(part: str, text: str, story: LabelledTurn) -> list[float]:
        others = [vectors[one] for one in _against(part, story)]
        whole = COMPARISONS[part].whole
        return cosines(_parts(text, vectors), others, centres, whole=whole)

    found: CosinesByMeasure = {}
    for part in ("coherence", "relevance"):
        found[f"{part} own"] = [held(part, told(t.sample.response), t) for t in turns]
        found[f"{part} other"] = [
            [v for o in _others(turns, n) for v in held(part, told(t.sample.response), o)]
            for n, t in enumerate(turns)
        ]
    found["novelty own"] = [held("novelty", told(t.sample.response), t) for t in turns]
    found["novelty copied"] = [held("novelty", _last_turn(t), t) for t in turns]
    retold = [held("novelty", t.retold, t) for t in turns if t.retold]
    return found | ({"novelty retold": retold} if retold else {})


def _ramps(measured: CosinesByMeasure) -> dict[str, tuple[float, float]]:
    flat = {name: np.concatenate(values) for name, values in measured.items()}
    ramps: dict[str, tuple[float, float]] = {}
    for part in ("coherence", "relevance"):
        zero_at = float(np.quantile(flat[f"{part} other"], 1 - OTHERS_ABOVE_0))
        ramps[part] = (zero_at, float(np.quantile(flat[f"{part} own"], OWN_BELOW_1)))
    if ramps["coherence"][0] >= ramps["coherence"][1]:
        raise ValueError("own and other stories are equally near: this model does not read them")
    if ramps["relevance"][0] >= ramps["relevance"][1]:
        # The user's turn is short; half of the own turns then mark the end.
        ramps["relevance"] = (ramps["relevance"][0], float(np.median(flat["relevance own"])))
    one_at = float(flat["novelty own"].max())
    copied = float(np.quantile(flat["novelty copied"], COPIES_ABOVE_0))
    ramps["novelty"] = (max(copied, one_at + 0.01), one_at)
    return {part: (round(a, 4), round(b, 4)) for part, (a, b) in ramps.items()}


def _said(measured: CosinesByMeasure) -> dict[str, Any]:
    """For readers: how many turns, the AUC of each question, its interval over the stories."""
    questions = {
        "own against other": ("coherence own", "coherence other"),
        "own against other, by the user's turn": ("relevance own", "relevance other"),
        "copied against own": ("novelty copied", "novelty own"),
        "retold against own": ("novelty retold", "novelty own"),
    }
    said: dict[str, Any] = {"turns": len(measured["coherence own"])}
    for question, (more, less) in questions.items():
        if more in measured:
            said[question] = auc_interval(measured[more], measured[less])
    return said


def auc_interval(more: list[list[float]], less: list[list[float]]) -> dict[str, Any]:
    """The share of pairs in which the first is larger, and its 95% interval by the bootstrap over
    stories.

    Example:
        >>> auc_interval([[0.9], [0.8]], [[0.1], [0.2]])["auc"]
        1.0
    """
    rng = np.random.default_rng(0)
    drawn: list[float] = []
    for _ in range(RESAMPLES):
        ones, others = (_drawn(each, rng) for each in (more, less))
        drawn.append(_auc(ones, others))
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = _auc(_joined(more), _joined(less))
    return {"auc": round(value, 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _joined(stories: list[list[float]]) -> Floats:
    return np.array([value for each in stories for value in each])


def _drawn(stories: list[list[float]], rng: np.random.Generator) -> Floats:
    """The values of as many stories, drawn with replacement."""
    places: list[int] = rng.integers(len(stories), size=len(stories)).tolist()
    return _joined([stories[place] for place in places])


def _auc(more: Floats, less: Floats) -> float:
    ordered = np.sort(less)
    below = np.searchsorted(ordered, more, "left") + np.searchsorted(ordered, more, "right")
    return float(below.mean() / 2 / len(less))


def _others(turns: Sequence[LabelledTurn], place: int) -> list[LabelledTurn]:
    own = turns[place].story
    rest = [t for t in (*turns[place + 1 :], *turns[:place]) if t.story != own]
    return rest[:: max(len(rest) // OTHERS, 1)][:OTHERS]


def _against(part: str, turn: LabelledTurn) -> list[str]:
    compared = COMPARISONS[part]
    texts = compared.against(turn.sample, compared.turns)
    if isinstance(texts, SampleError):
        raise ValueError(f"turn {turn.sample.id}: {texts.message}")
    return texts


def _last_turn(turn: LabelledTurn) -> str:
    history = turn.sample.metadata["conversation_history"]
    return told(history[-1]["content"]) if history else ""


def _parts(text: str, vectors: Vectors) -> list[Any]:
    return [vectors[part] for part in parts_of(text)]


def _mean(vectors: Sequence[Any]) -> Any:
    return np.mean([v / np.linalg.norm(v) for v in vectors], axis=0)


Embed = Callable[[Sequence[str]], list[Any]]
