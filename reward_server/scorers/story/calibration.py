"""Calibrate an embedding model on labeled turns: own stories against others, copies, stock texts.

Ramps are set on the tuning half of each language. How well they tell texts apart is reported for
both halves, with intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.story.embedded import (
    COMPARISONS,
    cosines,
    margins,
)
from touchstone_rewards.reward_server.scorers.story.ramps import Centres, LanguageRamps
from touchstone_rewards.reward_server.scorers.story.stories import StockText
from touchstone_rewards.reward_server.scorers.story.text import parts_of, sentences, told

OTHERS, RESAMPLES, LEAST_TURNS = 5, 500, 20
# Shares of the tuning turns: other stories' turns that score above 0, own turns that score below 1,
# near-copies that score above 0.
OTHERS_ABOVE_0, OWN_BELOW_1, COPIES_ABOVE_0 = 0.75, 0.03, 0.1
# Share of stock texts that score above 0 for `specific`, where all own turns score 1.
STOCK_ABOVE_0 = 0.3
Vectors = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


class LabelledTurn(NamedTuple):
    """A good turn of a story, as a sample; `retold` paraphrases the story's last turn."""

    sample: Sample
    language: str
    split: str
    story: str
    retold: str = ""


def texts_of(turns: Sequence[LabelledTurn], stock: Sequence[StockText]) -> list[str]:
    """Return every text that the measures below need, each once."""
    found = dict.fromkeys(one.text for one in stock)
    for turn in turns:
        for part in ("coherence", "relevance", "novelty"):
            found.update(dict.fromkeys(_against(part, turn)))
        for text in (told(turn.sample.response), turn.retold, _copy(turn)):
            found.update(dict.fromkeys(parts_of(text)))
    return list(found)


def language_ramps(
    turns: Sequence[LabelledTurn], stock: Sequence[StockText], vectors: Vectors
) -> LanguageRamps:
    """Measure one language: ramps from the tuning half of its turns, figures from both halves.

    Without `stock`, texts of the language that would fit any story, `specific` is not measured.

    Raises:
        ValueError: too few turns of either half, or own and other stories cannot be told apart.
    """
    halves = {half: [t for t in turns if t.split == half] for half in ("tuning", "test")}
    if fewer := [half for half, each in halves.items() if len(each) < LEAST_TURNS]:
        raise ValueError(f"fewer than {LEAST_TURNS} turns in the half {' and '.join(fewer)}")
    tuning = halves["tuning"]
    centres = Centres(
        _mean([vectors[part] for t in tuning for part in parts_of(told(t.sample.response))]),
        _mean([vectors[text] for t in tuning for text in _against("coherence", t)]),
    )
    raw = [vectors[one.text] for one in stock]
    bank = np.array([_direction(one, centres.response) for one in raw])
    measures = {
        half: _measured(each, vectors, centres) | _specific(each, vectors, centres, raw, bank)
        for half, each in halves.items()
    }
    ramps = _ramps(measures["tuning"])
    said = {half: _said(each) for half, each in measures.items()}
    return LanguageRamps(centres, ramps, said, bank.astype(np.float16).tobytes())


CosinesByMeasure = dict[str, list[list[float]]]


def _measured(
    turns: Sequence[LabelledTurn], vectors: Vectors, centres: Centres
) -> CosinesByMeasure:
    """Return, for each measure, a list of numbers per turn."""

    def held(part: str, text: str, story: LabelledTurn) -> list[float]:
        others = _against(part, story)
        if not others:
            return []
        found = _rows(parts_of(text), vectors), _rows(others, vectors)
        return cosines(*found, centres, whole=COMPARISONS[part].whole)

    found: CosinesByMeasure = {}
    for part in ("coherence", "relevance"):
        found[f"{part} own"] = [held(part, told(t.sample.response), t) for t in turns]
        found[f"{part} other"] = [
            [v for o in _others(turns, n) for v in held(part, told(t.sample.response), o)]
            for n, t in enumerate(turns)
        ]
    found["novelty own"] = [held("novelty", told(t.sample.response), t) for t in turns]
    found["novelty copied"] = [held("novelty", _copy(t), t) for t in turns]
    retold = [held("novelty", t.retold, t) for t in turns if t.retold]
    return found | ({"novelty retold": retold} if retold else {})


def _specific(
    turns: Sequence[LabelledTurn], vectors: Vectors, centres: Centres, raw: list[Any], bank: Any
) -> CosinesByMeasure:
    """The margins of own turns, and of each stock text against the other stock texts."""
    if len(raw) < 2:
        return {}
    found: CosinesByMeasure = {"specific own": [], "specific stock": []}
    for turn in turns:
        story = _rows(_against("specific", turn), vectors)
        own = _rows(parts_of(told(turn.sample.response)), vectors)
        found["specific own"].append(margins(own, story, centres, bank))
        found["specific stock"].append(
            [
                margins(one[None], story, centres, np.delete(bank, place, axis=0))[0]
                for place, one in enumerate(raw)
            ]
        )
    return found


def _direction(vector: Any, centre: Any) -> Any:
    """Return the unit vector of a text's unit vector minus the center."""
    left = vector / np.linalg.norm(vector) - centre
    return left / np.linalg.norm(left)


def _ramps(measured: CosinesByMeasure) -> dict[str, tuple[float, float]]:
    flat = {name: np.concatenate(values) for name, values in measured.items()}
    ramps: dict[str, tuple[float, float]] = {}
    for part in ("coherence", "relevance"):
        zero_at = float(np.quantile(flat[f"{part} other"], 1 - OTHERS_ABOVE_0))
        ramps[part] = (zero_at, float(np.quantile(flat[f"{part} own"], OWN_BELOW_1)))
    if ramps["coherence"][0] >= ramps["coherence"][1]:
        raise ValueError("own and other stories are equally near: this model does not read them")
    if ramps["relevance"][0] >= ramps["relevance"][1]:
        # The user's turn is short and says little; end the ramp at the median then.
        ramps["relevance"] = (ramps["relevance"][0], float(np.median(flat["relevance own"])))
    one_at = float(flat["novelty own"].max())
    copied = float(np.quantile(flat["novelty copied"], COPIES_ABOVE_0))
    ramps["novelty"] = (max(copied, one_at + 0.03), one_at)
    if "specific own" in flat:
        least = float(flat["specific own"].min())
        stock = float(np.quantile(flat["specific stock"], 1 - STOCK_ABOVE_0))
        ramps["specific"] = (min(stock, least - 0.05), least)
    return {part: (round(a, 4), round(b, 4)) for part, (a, b) in ramps.items()}


def _said(measured: CosinesByMeasure) -> dict[str, Any]:
    """Return the number of turns and the AUC of each question with its interval, for readers."""
    questions = {
        "own against other": ("coherence own", "coherence other"),
        "own against other, by the user's turn": ("relevance own", "relevance other"),
        "own against stock texts": ("specific own", "specific stock"),
        "copied against own": ("novelty copied", "novelty own"),
        "retold against own": ("novelty retold", "novelty own"),
    }
    said: dict[str, Any] = {"turns": len(measured["coherence own"])}
    for question, (more, less) in questions.items():
        if more in measured and less in measured:
            said[question] = auc_interval(measured[more], measured[less])
    return said


def auc_interval(more: list[list[float]], less: list[list[float]]) -> dict[str, Any]:
    """Return the AUC, the share of pairs in which the first is larger, and its 95% interval.

    Each list holds the numbers of one story; the bootstrap draws whole stories.

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
    """Return the values of as many stories, drawn with replacement."""
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


def _copy(turn: LabelledTurn) -> str:
    """The last turn from its second sentence on, so that its parts are not those of the history."""
    history = turn.sample.metadata["conversation_history"]
    told_last = sentences(told(history[-1]["content"])) if history else []
    return " ".join(told_last[1:] or told_last)


def _rows(texts: Sequence[str], vectors: Vectors) -> Any:
    return np.stack([vectors[text] for text in texts])


def _mean(vectors: Sequence[Any]) -> Any:
    return np.mean([v / np.linalg.norm(v) for v in vectors], axis=0)


Embed = Callable[[Sequence[str]], list[Any]]
