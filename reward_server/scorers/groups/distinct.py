"""Score how distinct a response is within its group, by answers, words or meaning.

`by: answers`: 1 / number of members with the same answer, so the group's mean is its share of
distinct answers. `by: words`: the share of a response's word runs that no other member has.
`by: embeddings`: 1 minus the cosine with the closest other member, where a negative cosine counts
as 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.models.config import EmbeddingConfig, ModelConfig
from touchstone_rewards.reward_server.schemas import SampleError
from touchstone_rewards.reward_server.scorers.base import AskModel, Judging, Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.embedded import nearest
from touchstone_rewards.reward_server.scorers.groups.answers import (
    MAX_MEMBERS,
    MathConfig,
    answer_classes,
    specs_of,
)
from touchstone_rewards.reward_server.scorers.groups.texts import RunWords, checked_size, runs


class Distinct:
    """Score how distinct a response is within its group: by answer, words or meaning."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    of = ()

    def __init__(
        self,
        by: Annotated[str, Field(description="answers, words or embeddings")] = "answers",
        math: MathConfig = None,
        words: RunWords = 3,
        embedding: Annotated[
            dict[str, Any] | None, Field(description="config of the embedding model")
        ] = None,
    ) -> None:
        if by not in ("answers", "words", "embeddings"):
            raise ValueError(f"by is {by!r}; expected answers, words or embeddings")
        if embedding is not None and by != "embeddings":
            raise ValueError(f"embedding is set, but by is {by}; set by: embeddings")
        self.by = by
        self.model: ModelConfig | None = None
        if by == "embeddings":
            model = EmbeddingConfig(**(embedding or {}))
            self.use(model, model.digest())
        self.words = checked_size(words)
        self.specs = specs_of(math or {})
        self.asks = tuple(self.specs) if by == "answers" else ()
        self.max_members = MAX_MEMBERS

    def use(self, model: ModelConfig, digest: str) -> None:
        """Embed with this model from now on; its digest becomes part of the version."""
        self.model = model
        self.version = f"1 {digest}"

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score] | Judging:
        if self.by == "answers":
            return self._by_answers(members, explain)
        if self.by == "embeddings":
            return self._by_embeddings(members, explain)
        return self._by_words(members, explain)

    def _by_answers(self, members: Sequence[Member], explain: bool) -> Judging:
        classes = yield from answer_classes(members, self.specs)
        found: list[Score] = []
        for at, one in enumerate(classes.of):
            if (error := classes.errors.get(at)) is not None:
                found.append(error)
                continue
            size = classes.sizes[one]
            about = {"answer": classes.answers[at], "same_answer": size}
            found.append(Score(1 / size, None, about if explain else None))
        return found

    def _by_embeddings(self, members: Sequence[Member], explain: bool) -> Judging:
        outputs = yield AskModel([member.sample.response for member in members])
        known = [at for at, one in enumerate(outputs) if not isinstance(one, SampleError)]
        others = nearest([outputs[at].vector for at in known]) if len(known) > 1 else []
        found: list[Score] = []
        for at, one in enumerate(outputs):
            if at not in known:
                found.append(Score(error=one))
            elif not others:
                why = "no other member has a vector to compare with"
                found.append(Score(error=sample_error("unsupported_input", why)))
            else:
                cosine, other = others[known.index(at)]
                about = {"nearest": members[known[other]].sample.id, "cosine": round(cosine, 6)}
                found.append(
                    Score(1 - min(max(cosine, 0.0), 1.0), None, about if explain else None)
                )
        return found

    def _by_words(self, members: Sequence[Member], explain: bool) -> list[Score]:
        each = [runs(member.sample.response, self.words) for member in members]
        owners = Counter(run for one in each for run in one)
        found: list[Score] = []
        for one in each:
            own = sum(owners[run] == 1 for run in one)
            about = {"runs": len(one), "own_runs": own}
            found.append(Score(own / len(one), None, about if explain else None))
        return found
