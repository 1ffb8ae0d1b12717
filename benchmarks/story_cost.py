"""The cost of a story's score, in forward passes of the embedding model, multilingual-e5-small.

Groups of eight new responses, each in the language of its history. The complete score of
`story_multilingual`, from the engine, is compared with one packed forward pass over the text of the
same responses, in one process on one thread, by processor time, in turn. In the forward pass each
response has the prefix `query: `, which e5 asks for; `ratio_bare` is the same without it, as the
profile embeds. For each language the ratio over the groups with its quartiles is recorded, for the
first eight responses to a history (when the history is embedded) and for the next eight; beside it
the ratio of the tokens that are embedded, which no code can fall far below.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks import record
from touchstone_rewards.reward_server.commands.story_hacks import PATIENT
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.embedding import Embedder, load_embedder
from touchstone_rewards.reward_server.models.packed import Ids
from touchstone_rewards.reward_server.models.text import Text, TokenIds
from touchstone_rewards.reward_server.profiles import FETCHED_DIR, load_profile
from touchstone_rewards.reward_server.schemas import Sample, SampleError, ScoreRequest
from touchstone_rewards.reward_server.scorers.story.cases import HONEST
from touchstone_rewards.reward_server.scorers.story.embedded import EmbeddedPart
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import told
from touchstone_rewards.reward_server.scorers.story.trials import good_turn, metadata
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

PROFILE = FETCHED_DIR / "e5-multilingual" / "story_multilingual.yaml"
GROUP, ROUNDS = 8, 3
E5_PREFIX = "query: "
LANGUAGES = ("English", "Chinese")
PARTS = ("coherence", "relevance", "specific", "novelty")


class GroupCost(NamedTuple):
    """Processor seconds and tokens of one group: scored by the profile, in one forward pass as e5
    asks for it, and in one without the prefix."""

    scored_s: float
    forward_s: float
    bare_s: float
    scored_tokens: int
    forward_tokens: int
    bare_tokens: int


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for language in LANGUAGES for row in rows_of(language)]
    for row in rows:
        print(json.dumps(row), flush=True)
    record("story_cost", rows, peer="one packed forward of the responses", group=GROUP)


def groups(language: str) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Yield for each history of a language two groups of new responses."""
    stories = [one for one in told_stories() if one.language == language]
    for start in range(0, len(stories) - 2 * GROUP + 1, 2 * GROUP):
        about = metadata(stories[start])
        samples = [
            Sample(story.id, good_turn(story), signals=dict(HONEST), metadata=about)
            for story in stories[start : start + 2 * GROUP]
        ]
        yield samples[:GROUP], samples[GROUP:]


def rows_of(language: str) -> list[dict[str, Any]]:
    """Return the row of the first and of the next group of each history."""
    costs: tuple[list[GroupCost], list[GroupCost]] = ([], [])
    for _ in range(ROUNDS):
        for place, each in enumerate(asyncio.run(measured(language))):
            costs[place].extend(each)
    names = ("first", "next")
    return [row_of(language, name, each) for name, each in zip(names, costs, strict=True)]


async def measured(language: str) -> tuple[list[GroupCost], list[GroupCost]]:
    """Return the costs of the first and the next groups, by a new engine that knows no text."""
    profile = load_profile(PROFILE)
    scorers = [profile.scorers[part] for part in PARTS]
    parts = [one for one in scorers if isinstance(one, EmbeddedPart)]
    assert isinstance(parts[0].model, EmbeddingConfig)
    forward = load_embedder(parts[0].model)
    settings = load_settings(overrides=PATIENT)
    engine = create_engine({profile.name: profile}, settings, Metrics())
    await engine.start()

    async def scored(samples: Sequence[Sample]) -> float:
        began_s = time.process_time()
        answer = await engine.score(ScoreRequest([*samples], profile.name))
        took_s = time.process_time() - began_s
        assert all(one.reward is not None for one in answer.results)
        return took_s

    costs: tuple[list[GroupCost], list[GroupCost]] = ([], [])
    try:
        # A history of the other language warms up: its texts do not recur.
        [other] = set(LANGUAGES) - {language}
        for history in [next(groups(other)), *groups(language)]:
            known: set[str] = set()
            for place, samples in enumerate(history):
                scored_s = await scored(samples)
                forward_s, forward_tokens = forwarded(forward, samples, E5_PREFIX)
                bare_s, bare_tokens = forwarded(forward, samples, "")
                texts = {text for part in parts for one in samples for text in inputs(part, one)}
                tokens = sum(map(len, ids_of(forward, texts - known)))
                taken = (scored_s, forward_s, bare_s, tokens, forward_tokens, bare_tokens)
                costs[place].append(GroupCost(*taken))
                known |= texts
    finally:
        await engine.stop()
    return costs[0][1:], costs[1][1:]


def inputs(part: EmbeddedPart, sample: Sample) -> Sequence[str]:
    found = part.inputs(sample)
    assert not isinstance(found, SampleError)
    return found


def forwarded(model: Embedder, samples: Sequence[Sample], prefix: str) -> tuple[float, int]:
    """Return processor seconds of a forward pass over the responses' text, including
    tokenization, and its tokens."""
    began_s = time.process_time()
    ids = ids_of(model, [prefix + told(one.response) for one in samples])
    with torch.inference_mode():
        model.vectors(ids, "packed").cpu()
    return time.process_time() - began_s, sum(map(len, ids))


def ids_of(model: Embedder, texts: Iterable[str]) -> list[Ids]:
    assert not model.prefix
    read = model.reader.read([Text(None, one) for one in texts])
    return [one.ids for one in read if isinstance(one, TokenIds)]


def row_of(language: str, name: str, costs: Sequence[GroupCost]) -> dict[str, Any]:
    """Return the medians, and the quartiles of the ratio."""
    ours, peer, bare, our_tokens, peer_tokens, bare_tokens = np.array(costs).T
    low, middle, high = np.quantile(ours / peer, [0.25, 0.5, 0.75])
    return {
        "what": f"{language}: story score, the {name} {GROUP} responses of a history, processor ms "
        "a response",
        "ours": round(1e3 * float(np.median(ours)) / GROUP, 2),
        "peer": round(1e3 * float(np.median(peer)) / GROUP, 2),
        "ratio": round(float(middle), 3),
        "quartiles": [round(float(low), 3), round(float(high), 3)],
        "ratio_bare": round(float(np.median(ours / bare)), 3),
        "tokens_ratio": round(float(np.median(our_tokens / peer_tokens)), 3),
        "tokens_ratio_bare": round(float(np.median(our_tokens / bare_tokens)), 3),
        "groups": len(costs),
    }


if __name__ == "__main__":
    main()
