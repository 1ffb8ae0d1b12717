"""The parts of a story's score that compare meanings: cosines of embeddings, through a ramp.

In: a sample, then the vectors of its texts. Out: a `Score` in [0, 1]. A response is embedded in
parts of some sentences, each of which must do for itself, so that a good beginning does not carry
the rest. The same text is embedded once, however many parts and samples ask for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.models.config import ModelConfig, RemoteEmbeddingConfig
from touchstone_rewards.reward_server.models.files import folder_digest
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.embedded import EmbeddedScorer, cosine
from touchstone_rewards.reward_server.scorers.story import context
from touchstone_rewards.reward_server.scorers.story.language import language
from touchstone_rewards.reward_server.scorers.story.ramps import (
    Centres,
    Ramps,
    check_ramps,
    read_ramps,
)
from touchstone_rewards.reward_server.scorers.story.rules import check_numbers, fullness, ramp
from touchstone_rewards.reward_server.scorers.story.text import parts_of, told, with_sentences

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
Texts = list[str] | SampleError


class HeldAgainst(NamedTuple):
    """What a response is held against, how many turns back, and where the score is 0 and 1.

    `whole`: is it measured as a whole, the sum of its parts, or part by part?
    """

    against: Callable[[Sample, int], Texts]
    turns: int
    zero_at: float
    one_at: float
    full_at: float | None = None
    whole: bool = True


def _user_turn(sample: Sample, _: int) -> Texts:
    return context.user_turn(sample)


def _earlier(sample: Sample, turns: int) -> Texts:
    earlier = context.earlier(sample, turns)
    if isinstance(earlier, SampleError):
        return earlier
    return list(with_sentences(tuple(earlier)))


def _target(sample: Sample, _: int) -> Texts:
    return context.targets(sample) or sample_error("missing_field", "ground_truth is not there")


COMPARISONS = {
    "coherence": HeldAgainst(context.story, turns=2, zero_at=0.1, one_at=0.4),
    "relevance": HeldAgainst(_user_turn, turns=1, zero_at=0.1, one_at=0.4),
    "novelty": HeldAgainst(_earlier, turns=8, zero_at=0.9, one_at=0.7, full_at=40, whole=False),
    "target": HeldAgainst(_target, turns=1, zero_at=0.0, one_at=1.0),
}


class EmbeddedPart(EmbeddedScorer):
    """One of `COMPARISONS`. The nearest of several texts counts. `ramps` names what
    `reward-server calibrate` measured with the model; then a story in another language is
    `unsupported_input`, and one that `languages` asks for must be among those measured. Keys beside
    these, `zero_at`, `one_at` and `turns` are the embedding model's."""

    range = (0.0, 1.0)
    reads = ("response", "metadata", "ground_truth")

    def __init__(
        self, part: str, ramps: str | None = None, languages: Sequence[str] = (), **config: Any
    ) -> None:
        compared = COMPARISONS[part]
        own = {name: config.pop(name) for name in ("zero_at", "one_at", "turns") if name in config}
        self.part, self.compared = part, compared._replace(**own)
        check_numbers(own | {"zero_at": self.compared.zero_at, "one_at": self.compared.one_at})
        if ramps is not None and own.keys() & {"zero_at", "one_at"}:
            raise ValueError("say ramps, or zero_at and one_at")
        if languages and ramps is None:
            raise ValueError("languages goes with ramps")
        self.ramps = None if ramps is None else read_ramps(ramps)
        self._asked = list(languages)
        super().__init__(**config)
        counts = getattr(self.model, "local_folder", "") is not None
        if self.compared.full_at is not None and not counts:
            raise ValueError(
                f"part {part} counts tokens: say local_folder, which has the tokenizer"
            )

    @property
    def languages(self) -> list[str] | None:
        """The languages that it reads, None where nobody has measured that."""
        return None if self.ramps is None else list(self.ramps.languages)

    def use(self, model: ModelConfig, digest: str) -> None:
        super().use(model, digest)
        self.version = f"3 {digest}"
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
        parts = len(_parts(sample.response))
        if not outputs or not parts:
            why = "the response is empty, or in another language than the story"
            return Score(0.0, explanation={"rule": why} if explain else None)
        spoken, zero_at, one_at = None, self.compared.zero_at, self.compared.one_at
        centres: Centres | None = None
        if self.ramps is not None:
            spoken = story_language(sample)
            measured = self.ramps.languages[spoken]
            zero_at, one_at = measured.ramps.get(self.part, (zero_at, one_at))
            centres = measured.centres
        vectors = [one.vector for one in outputs]
        found = cosines(vectors[:parts], vectors[parts:], centres, whole=self.compared.whole)
        value = sum(ramp(each, zero_at, one_at) for each in found) / len(found)
        tokens = sum(one.tokens for one in outputs[:parts])
        if self.compared.full_at is not None:
            value *= fullness(tokens, self.compared.full_at)
        said: dict[str, Any] = {"nearest": [round(each, 6) for each in found]}
        said |= {"texts": len(outputs) - parts, "tokens": tokens}
        said |= {} if spoken is None else {"language": spoken, "ramp": [zero_at, one_at]}
        return Score(value, explanation=said if explain else None)


def cosines(
    parts: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    centres: Centres | None,
    *,
    whole: bool,
) -> list[float]:
    """Return the largest cosine with one of the others, of the parts' sum or of each part.

    `parts`, `others`: vectors of shape [dim]. As a whole, the centres of responses and of stories
    are taken away first, so that what any text of the language has in common with any story counts
    for nothing.

    Example:
        >>> cosines([np.array([1.0, 0.0])], [np.array([1.0, 0.0])], None, whole=False)
        [1.0]
    """
    if whole:
        response, told_before = (centres.response, centres.story) if centres else (0.0, 0.0)
        parts = [sum(_unit(_unit(each) - response) for each in parts)]  # pyright: ignore
        others = [_unit(each) - told_before for each in others]
    return [max(cosine(part, other) for other in others) for part in parts]


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(math.sqrt(float(vector @ vector)), 1e-12)


def story_language(sample: Sample) -> str:
    """The language of what was told so far."""
    told_before = context.story(sample, 2)
    return "other" if isinstance(told_before, SampleError) else _known_language(told_before[0])


# Every part of the score asks these of a response, before its vectors are there and with them, and
# all samples of a group have one story.
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
    what = "in a language that is not known" if spoken == "other" else f"in {spoken}"
    return sample_error(
        "unsupported_input",
        f"the story is {what}; {ramps.model} was calibrated for {known}: take a model that reads "
        "it and run reward-server calibrate",
    )
