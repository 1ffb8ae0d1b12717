"""Score the similarity in meaning of response and reference: the clipped cosine of embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Message, Sample, SampleError, is_list
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.embedded import EmbeddedScorer, cosine

METADATA = "metadata."


class SimilarityScorer(EmbeddedScorer):
    """Score how similar the response is in meaning to a reference.

    The keys beside those of the signature are the embedding model's.
    """

    range: tuple[float, float] = (0.0, 1.0)
    reads: tuple[str, ...] = ("response", "ground_truth")

    def __init__(
        self,
        against: Annotated[
            str, Field(description="field with the references, of which the closest counts")
        ] = "ground_truth",
        clip: Annotated[Sequence[float], Field(description="least and greatest score")] = (
            0.0,
            1.0,
        ),
        **config: Any,
    ) -> None:
        if against not in ("ground_truth", "prompt") and not against[len(METADATA) :]:
            raise ValueError(f"against is {against!r}; set ground_truth, prompt or metadata.NAME")
        if len(clip) != 2 or not all(map(math.isfinite, clip)) or clip[0] >= clip[1]:
            raise ValueError(f"clip is {clip!r}; expected the least and the greatest score")
        self.against = against
        self.range = (float(clip[0]), float(clip[1]))
        self.reads = ("response", against.split(".")[0])
        super().__init__(**config)

    def inputs(self, sample: Sample) -> Sequence[str] | SampleError:
        references = _texts(self._reference(sample))
        if not references:
            return sample_error("missing_field", f"no text to compare with in {self.against}")
        return [sample.response, *references]

    def judge(self, sample: Sample, outputs: Sequence[Any], explain: bool) -> Score:
        response, *references = (output.vector for output in outputs)
        cosines = [cosine(response, reference) for reference in references]
        least, greatest = self.range
        value = min(max(max(cosines), least), greatest)
        return Score(value, None, self._explained(outputs, cosines) if explain else None)

    def _reference(self, sample: Sample) -> Any:
        if self.against.startswith(METADATA):
            return sample.metadata.get(self.against.removeprefix(METADATA))
        return getattr(sample, self.against)

    def _explained(self, outputs: Sequence[Any], cosines: list[float]) -> dict[str, Any]:
        return {
            "against": self.against,
            "cosines": [round(cosine, 6) for cosine in cosines],
            "tokens": [output.tokens for output in outputs],
            "tokens_cut": [output.cut for output in outputs],
        }


def _texts(reference: Any) -> list[str]:
    """Return the texts in a field: one, several, or a chat's turns joined."""
    if reference is None or isinstance(reference, dict):
        return []
    if not is_list(reference):
        return [str(reference)]
    turns = [one for one in reference if isinstance(one, Message)]
    if turns:
        return ["\n".join(turn.content for turn in turns if isinstance(turn.content, str))]
    return [str(one) for one in reference if one is not None]
