"""The parts of a story's score that compare meanings: cosines of embeddings, through a ramp.

In: a sample, then the vectors of its texts. Out: a `Score` in [0, 1]. The same text is embedded
once, however many parts and samples ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.embedded import EmbeddedScorer, cosine
from touchstone_rewards.reward_server.scorers.story import context
from touchstone_rewards.reward_server.scorers.story.rules import check_numbers, fullness, ramp
from touchstone_rewards.reward_server.scorers.story.text import told, with_sentences

Texts = list[str] | SampleError


class HeldAgainst(NamedTuple):
    """What a response is held against, how many turns back, and where the score is 0 and 1."""

    against: Callable[[Sample, int], Texts]
    turns: int
    zero_at: float
    one_at: float
    full_at: float | None = None


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
    "coherence": HeldAgainst(context.recent, turns=2, zero_at=0.1, one_at=0.4),
    "relevance": HeldAgainst(_user_turn, turns=1, zero_at=0.1, one_at=0.4),
    "novelty": HeldAgainst(_earlier, turns=8, zero_at=0.9, one_at=0.7, full_at=40),
    "target": HeldAgainst(_target, turns=1, zero_at=0.0, one_at=1.0),
}


class EmbeddedPart(EmbeddedScorer):
    """One of `COMPARISONS`. The nearest of several texts counts. Keys beside `zero_at`, `one_at`
    and `turns` are the embedding model's."""

    range = (0.0, 1.0)
    reads = ("response", "metadata", "ground_truth")

    def __init__(self, part: str, **config: Any) -> None:
        compared = COMPARISONS[part]
        own = {name: config.pop(name) for name in ("zero_at", "one_at", "turns") if name in config}
        self.compared = compared._replace(**own)
        check_numbers(own | {"zero_at": self.compared.zero_at, "one_at": self.compared.one_at})
        super().__init__(**config)
        counts = getattr(self.model, "local_folder", "") is not None
        if self.compared.full_at is not None and not counts:
            raise ValueError(
                f"part {part} counts tokens: say local_folder, which has the tokenizer"
            )

    def use(self, model: ModelConfig, digest: str) -> None:
        super().use(model, digest)
        self.version = f"2 {digest}"

    def inputs(self, sample: Sample) -> Sequence[str] | SampleError:
        texts = self.compared.against(sample, int(self.compared.turns))
        if isinstance(texts, SampleError):
            return texts
        text = told(sample.response)
        return [text, *texts] if text.strip() else []

    def judge(self, outputs: Sequence[Any], explain: bool) -> Score:
        if not outputs:
            return Score(0.0, explanation={"rule": "the response is empty"} if explain else None)
        response, *others = outputs
        cosines = [cosine(response.vector, other.vector) for other in others]
        _, _, zero_at, one_at, full_at = self.compared
        value = ramp(max(cosines), zero_at, one_at)
        if full_at is not None:
            value *= fullness(response.tokens, full_at)
        said = {"nearest": round(max(cosines), 6), "texts": len(others), "tokens": response.tokens}
        return Score(value, explanation=said if explain else None)
