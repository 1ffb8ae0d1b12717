"""Endpoints that score with a tiny model, in the wire form of each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.clients.peers import Action, Reply, Script, Seen
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.reward import load_reward_model

Scores = Callable[[Sequence[Any]], list[float]]


def model_scores(folder: Path) -> Scores:
    """Return the model's scores of token ids, or of texts that it tokenizes itself."""
    model = load_reward_model(RewardModelConfig(model=str(folder), dtype="float32", device="cpu"))
    tokenizer: Any = model.reader.tokenizer

    def scores(inputs: Sequence[Any]) -> list[float]:
        ids = [tokenizer(one).input_ids if isinstance(one, str) else one for one in inputs]
        return [float(model.score_alone(one)[0].detach()) for one in ids]

    return scores


def engine(wire: str, scores: Scores, model: str = "rm") -> Script:
    """Return an engine of one wire that gives these scores."""

    def act(request: Seen) -> Action:
        body = request.body
        if wire == "tei_predict":
            assert body["raw_scores"]
            found = scores([text for [text] in body["inputs"]])
            return Reply(200, [[{"label": "LABEL_0", "score": one}] for one in found])
        if wire == "sglang_classify":
            found = scores(body.get("input_ids") or body["text"])
            return Reply(200, [{"embedding": [one], "meta_info": {}} for one in found])
        key = {"vllm_pooling": "data", "vllm_classify": "probs"}.get(wire, "embedding")
        data = [{"index": i, key: [one]} for i, one in enumerate(scores(body["input"]))]
        return Reply(200, {"object": "list", "model": model, "data": data[::-1]})

    return act
