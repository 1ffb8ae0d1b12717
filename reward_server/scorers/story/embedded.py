"""Parts of a story's score that compare meanings: cosines of embeddings, mapped to [0, 1].

A response, and everything told before it, is embedded in pieces of a few sentences. Each text is
embedded once, however many parts of the score and samples of a group ask for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.models.config import ModelConfig, RemoteEmbeddingConfig
from touchstone_rewards.reward_server.models.files import folder_digest
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.embedded import EmbeddedScorer
from touchstone_rewards.reward_server.scorers.story import context
from touchstone_rewards.reward_server.scorers.story.language import language
from touchstone_rewards.reward_server.scorers.story.ramps import (
    Centres,
    LanguageRamps,
    Ramps,
    check_ramps,
    measured_for,
    read_ramps,
)
from touchstone_rewards.reward_server.scorers.story.rules import check_numbers, fullness, ramp
from touchstone_rewards.reward_server.scorers.story.text import (
    PART_UNITS,
    all_parts,
    parts_of,
    told,
    units,
)

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
Texts = list[str] | SampleError


class HeldAgainst(NamedTuple):
    """The texts that a response is compared with, and how the cosines become a score.

    `turns`: how many turns of history are read. `zero_at`, `one_at`: the cosines that score 0 and
    1. `whole`: measure the response as a whole (see `cosines`); else score each part, and take the
    mean.
    """

    against: Callable[[Sample, int], Texts]
    turns: int
    zero_at: float
    one_at: float
    full_at: float | None = None
    whole: bool = True


def _in_parts(texts: Texts) -> Texts:
    return texts if isinstance(texts, SampleError) else list(all_parts(tuple(texts)))


def _story(sample: Sample, turns: int) -> Texts:
    return _in_parts(context.story(sample, turns))


def _user_turn(sample: Sample, _: int) -> Texts:
    return _in_parts(context.user_turn(sample))


def _retellable(sample: Sample, turns: int) -> Texts:
    """Return the parts of all texts told before that are long enough to be retold.

    Any sentence that uses a shorter one is near to it: a key found where it was hidden.
    """
    found = context.earlier(sample, turns)
    if isinstance(found, SampleError):
        return found
    return _in_parts([text for text in found if 2 * len(units(text)) >= PART_UNITS])


def _target(sample: Sample, _: int) -> Texts:
    found = context.targets(sample)
    return _in_parts(found or sample_error("missing_field", "ground_truth is missing"))


COMPARISONS = {
    "coherence": HeldAgainst(_story, turns=2, zero_at=0.1, one_at=0.4),
    "relevance": HeldAgainst(_user_turn, turns=1, zero_at=0.1, one_at=0.4),
    "specific": HeldAgainst(_story, turns=2, zero_at=-0.4, one_at=-0.3, whole=False),
    "novelty": HeldAgainst(_retellable, turns=8, zero_at=0.9, one_at=0.7, full_at=40, whole=False),
    "target": HeldAgainst(_target, turns=1, zero_at=0.0, one_at=1.0),
}


class EmbeddedPart(EmbeddedScorer):
    """Scorer of one part in `COMPARISONS`.

    `ramps` names a file that `reward-server calibrate` wrote for the model. With it, a story in a
    language that was not measured is `unsupported_input`, and every language in `languages` must
    have been measured. `specific` needs it. `novelty` has `full_at`, in tokens of the model. The
    remaining settings, beside `zero_at`, `one_at` and `turns`, are those of the embedding model.

    Raises:
        ValueError: a setting is out of range, or two settings contradict each other.

    Example:
        >>> EmbeddedPart("coherence", turns=4).compared.turns
        4
    """

    range = (0.0, 1.0)
    reads = ("response", "metadata", "ground_truth")

    def __init__(
        self, part: str, ramps: str | None = None, languages: Sequence[str] = (), **config: Any
    ) -> None:
        compared = COMPARISONS[part]
        settings = ("zero_at", "one_at", "turns", *(["full_at"] if compared.full_at else []))
        own = {name: config.pop(name) for name in settings if name in config}
        self.part, self.compared = part, compared._replace(**own)
        check_numbers(own | {"zero_at": self.compared.zero_at, "one_at": self.compared.one_at})
        if ramps is not None and own.keys() & {"zero_at", "one_at"}:
            raise ValueError("set ramps, or zero_at and one_at")
        if languages and ramps is None:
            raise ValueError("languages goes with ramps")
        if part == "specific" and ramps is None:
            raise ValueError("part specific needs the stock texts of a ramps file: set ramps")
        self.ramps = None if ramps is None else measured_for(part, read_ramps(ramps))
        self._asked = list(languages)
        super().__init__(**config)
        counts = getattr(self.model, "local_folder", "") is not None
        if self.compared.full_at is not None and not counts:
            raise ValueError(
                f"part {part} counts tokens: set local_folder, which has the tokenizer"
            )

    @property
    def languages(self) -> list[str] | None:
        """The languages this part was calibrated for; None without a ramps file."""
        return None if self.ramps is None else list(self.ramps.languages)

    def use(self, model: ModelConfig, digest: str) -> None:
        super().use(model, digest)
        self.version = f"5 {digest}"
        if self.ramps is not None:
            remote = isinstance(model, RemoteEmbeddingConfig)
            files = None if remote else folder_digest(model.folder())
            prefix = getattr(model, "prefix", "")
            check_ramps(self.ramps, files, prefix, self._asked)
            log.info("story, part %s: reads %s", self.part, ", ".join(self.ramps.languages))

    def inputs(self, sample: Sample) -> Sequence[str] | SampleError:
        texts = self.compared.against(sample, int(self.compared.turns))
        if isinstance(texts, SampleError):
            return texts
        if self.ramps is not None:
            spoken = story_language(sample)
            if spoken not in self.ramps.languages:
                return _unread(spoken, self.ramps)
            if _response_language(sample.response) != spoken:
                return []
        return [*_parts(sample.response), *texts]

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        import numpy as np

        parts = len(_parts(sample.response))
        if not outputs or not parts:
            why = "the response is empty, or in another language than the story"
            return Score(0.0, explanation={"rule": why} if explain else None)
        spoken = None if self.ramps is None else story_language(sample)
        measured = None if self.ramps is None or spoken is None else self.ramps.languages[spoken]
        ends = self.compared.zero_at, self.compared.one_at
        zero_at, one_at = ends if measured is None else measured.ramps.get(self.part, ends)
        vectors = np.stack([one.vector for one in outputs])
        # Only what can be retold may be missing: a guard that has nothing to find.
        found = self._measured(vectors[:parts], vectors[parts:], measured)
        value = sum(ramp(each, zero_at, one_at) for each in found) / len(found) if found else 1.0
        tokens = sum(one.tokens for one in outputs[:parts])
        if self.compared.full_at is not None:
            value *= fullness(tokens, self.compared.full_at)
        said: dict[str, Any] = {"nearest": [round(each, 6) for each in found]}
        said |= {"texts": len(outputs) - parts, "tokens": tokens}
        said |= {} if spoken is None else {"language": spoken, "ramp": [zero_at, one_at]}
        return Score(value, explanation=said if explain else None)

    def _measured(
        self, parts: np.ndarray, others: np.ndarray, by: LanguageRamps | None
    ) -> list[float]:
        if not len(others):
            return []
        if self.part == "specific" and by is not None:
            return margins(parts, others, by.centres, by.stock_vectors)
        centres = None if by is None else by.centres
        return cosines(parts, others, centres, whole=self.compared.whole)


def cosines(
    parts: np.ndarray, others: np.ndarray, centres: Centres | None, *, whole: bool
) -> list[float]:
    """Return each part's largest cosine with one of the others, or one number for the whole.

    The number is the mean of two: the mean of the parts' largest cosines, and the cosine of the sum
    of the parts with the sum of the others. For it the centers of responses and of stories are
    subtracted first, so that what every text of the language shares with every story does not
    count. `parts`, `others`: vectors as rows, of shapes [parts, dim] and [others, dim].

    Example:
        >>> cosines(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]), None, whole=False)
        [1.0]
    """
    parts, others = _directions(parts), _directions(others)
    if whole and centres is not None:
        parts, others = _directions(parts - centres.response), _directions(others - centres.story)
    found = (parts @ others.T).max(axis=1)
    if not whole:
        return found.tolist()
    [together] = _directions(parts.sum(axis=0)[None]) @ _directions(others.sum(axis=0)[None])[0]
    return [float(found.mean() + together) / 2]


def margins(
    parts: np.ndarray, others: np.ndarray, centres: Centres, stock: np.ndarray
) -> list[float]:
    """Return how much nearer each part is to its story than to a stock text.

    That is its largest cosine with one of the others, minus the largest with a stock text, both
    after the centers are subtracted. `parts`, `others`: vectors as rows, of shapes [parts, dim] and
    [others, dim]; the others are the story's. `stock`: unit vectors of shape [texts, dim], already
    centered.

    Example:
        >>> here, there, center = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), np.zeros(2)
        >>> margins(here, here, Centres(center, center), there)
        [1.0]
    """
    own = _directions(_directions(parts) - centres.response)
    story = _directions(_directions(others) - centres.story)
    return ((own @ story.T).max(axis=1) - (own @ stock.T).max(axis=1)).tolist()


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Return the rows at length 1. A row of zeros has no direction: NaN, which is no score."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def story_language(sample: Sample) -> str:
    """Return the language of the story so far, `other` where it cannot be told."""
    told_before = context.story(sample, 2)
    if isinstance(told_before, SampleError):
        return "other"
    return _known_language("\n".join(told_before))


# Each part of the score asks for these twice a sample, before its vectors are there and after, and
# all samples of a group share one story.
@lru_cache(maxsize=64)
def _parts(response: str) -> tuple[str, ...]:
    return tuple(parts_of(told(response)))


@lru_cache(maxsize=64)
def _response_language(response: str) -> str:
    return language(told(response))


@lru_cache(maxsize=64)
def _known_language(text: str) -> str:
    return language(text)


def _unread(spoken: str, ramps: Ramps) -> SampleError:
    known = ", ".join(ramps.languages)
    what = "in a language that could not be recognized" if spoken == "other" else f"in {spoken}"
    return sample_error(
        "unsupported_input",
        f"the story is {what}; {ramps.model} was calibrated for {known}: use a model that reads "
        "it and run reward-server calibrate",
    )
