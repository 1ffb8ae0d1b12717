"""The cost of a story's score, in forward passes of the embedding model, multilingual-e5-small.

Groups of eight new responses, each in the language of its history. The complete score of
`story_multilingual`, from the engine, is compared with one packed forward pass over the text of the
same responses, in one process on one thread, by processor time, in turn. The result is the ratio
over the groups with its quartiles, for the first eight responses to a history (when the history is
embedded) and for the next eight.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from benchmarks import record
from touchstone_rewards.reward_server.commands.story_hacks import PATIENT
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.embedding import Embedder, load_embedder
from touchstone_rewards.reward_server.models.text import Text, TokenIds
from touchstone_rewards.reward_server.profiles import FETCHED_DIR, load_profile
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scorers.story.cases import HONEST
from touchstone_rewards.reward_server.scorers.story.embedded import EmbeddedPart
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import told
from touchstone_rewards.reward_server.scorers.story.trials import good_turn, metadata
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

PROFILE = FETCHED_DIR / "e5-multilingual" / "story_multilingual.yaml"
GROUP = 8


def main() -> None:
    torch.set_num_threads(1)
    rows = asyncio.run(measured())
    for row in rows:
        print(json.dumps(row), flush=True)
    record("story_cost", rows, peer="one packed forward of the responses", group=GROUP)


def groups() -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Yield for each history of a language two groups of new responses."""
    for language in ("English", "Chinese"):
        stories = [one for one in told_stories() if one.language == language]
        for start in range(0, len(stories) - 2 * GROUP + 1, 2 * GROUP):
            about = metadata(stories[start])
            samples = [
                Sample(story.id, good_turn(story), signals=dict(HONEST), metadata=about)
                for story in stories[start : start + 2 * GROUP]
            ]
            yield samples[:GROUP], samples[GROUP:]


async def measured() -> list[dict[str, Any]]:
    """Return the times of the first and the second group of each history, as two rows."""
    profile = load_profile(PROFILE)
    scorer = profile.scorers["coherence"]
    assert isinstance(scorer, EmbeddedPart)
    assert isinstance(scorer.model, EmbeddingConfig)
    forward = load_embedder(scorer.model)
    settings = load_settings(overrides=PATIENT)
    engine = create_engine({profile.name: profile}, settings, Metrics())
    await engine.start()

    async def scored(samples: Sequence[Sample]) -> float:
        began_s = time.process_time()
        answer = await engine.score(ScoreRequest([*samples], profile.name))
        took_s = time.process_time() - began_s
        assert all(one.reward is not None for one in answer.results)
        return took_s

    pairs: list[list[tuple[float, float]]] = [[], []]
    try:
        for history in warmed(list(groups())):
            for place, samples in enumerate(history):
                pairs[place].append((await scored(samples), forwarded(forward, samples)))
    finally:
        await engine.stop()
    names = ("first", "next")
    return [row_of(name, each[1:]) for name, each in zip(names, pairs, strict=True)]


def warmed(given: list[tuple[list[Sample], list[Sample]]]) -> list[tuple[list[Sample], ...]]:
    """Prepend a variant of the first history with one more word, to warm up; its times do not
    count."""
    first = tuple(
        [
            replace(one, response=one.response.replace('narrative": "', 'narrative": "So '))
            for one in each
        ]
        for each in given[0]
    )
    return [first, *given]


def forwarded(model: Embedder, samples: Sequence[Sample]) -> float:
    """Return processor seconds of a forward pass over the responses' text, including
    tokenization."""
    began_s = time.process_time()
    read = model.reader.read([Text(None, model.prefix + told(one.response)) for one in samples])
    with torch.inference_mode():
        model.vectors([one.ids for one in read if isinstance(one, TokenIds)], "packed").cpu()
    return time.process_time() - began_s


def row_of(name: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the medians, and the quartiles of the ratio."""
    ours, peer = np.array(pairs).T
    low, middle, high = np.quantile(ours / peer, [0.25, 0.5, 0.75])
    return {
        "what": f"story score, the {name} {GROUP} responses of a history, processor ms a response",
        "ours": round(1e3 * float(np.median(ours)) / GROUP, 2),
        "peer": round(1e3 * float(np.median(peer)) / GROUP, 2),
        "ratio": round(float(middle), 3),
        "quartiles": [round(float(low), 3), round(float(high), 3)],
        "groups": len(pairs),
    }


if __name__ == "__main__":
    main()
