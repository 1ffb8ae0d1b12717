"""Request and answer formats of the engines that serve reward models.

An answer holds, for each text, one number per output, or a list of such numbers per token or step.
An answer of another form raises `UpstreamFailed` and never becomes a score.

Source: vLLM 0.32 `vllm/entrypoints/pooling/{pooling,classify,base}/protocol.py`; SGLang 0.5
`srt/managers/io_struct.py` (`EmbeddingReqInput`) and `srt/entrypoints/openai/serving_embedding.py`;
text-embeddings-inference 1.9 `router/src/http/types.rs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from touchstone_rewards.reward_server.schemas import is_list, is_object

RewardWireName = Literal[
    "vllm_pooling", "vllm_classify", "sglang_classify", "sglang_embeddings", "tei_predict"
]
Chat = list[dict[str, Any]]
TokenSequence = list[int]
# A text, token ids, or a chat. All inputs of one request have the same kind.
EngineInput = str | TokenSequence | Chat


class RewardQuery(NamedTuple):
    """Settings common to all requests of a config. `activation`: request probabilities."""

    model: str | None
    activation: bool
    task: str | None = None


class Misshapen(ValueError):
    """An answer does not have the form documented in its engine's sources."""


class RewardWire(NamedTuple):
    """Format of one engine. `ids`, `chats`: whether it accepts token ids, and chats.

    `body` builds a request from inputs; `outputs` extracts each input's output from the answer.
    """

    path: str
    ids: bool
    chats: bool
    body: Callable[[Sequence[EngineInput], RewardQuery], dict[str, Any]]
    outputs: Callable[[object, int], list[Any]]


def _vllm(inputs: Sequence[EngineInput], query: RewardQuery) -> dict[str, Any]:
    body = _openai(inputs, query) | {"use_activation": query.activation}
    if _is_chat(inputs[0]):
        del body["input"]
        body["messages"] = inputs[0]
    return body | ({"task": query.task} if query.task else {})


def _openai(inputs: Sequence[EngineInput], query: RewardQuery) -> dict[str, Any]:
    return {"model": query.model, "input": list(inputs)}


def _sglang(inputs: Sequence[EngineInput], query: RewardQuery) -> dict[str, Any]:
    return {"text" if isinstance(inputs[0], str) else "input_ids": list(inputs)}


def _tei(inputs: Sequence[EngineInput], query: RewardQuery) -> dict[str, Any]:
    # Wrap each text in its own list: a list of two texts would mean a pair.
    texts = [[each] for each in inputs]
    return {"inputs": texts, "raw_scores": not query.activation, "truncate": False}


def _is_chat(one: EngineInput) -> bool:
    return isinstance(one, list) and bool(one) and is_object(one[0])


def _indexed(key: str) -> Callable[[object, int], list[Any]]:
    """Return a reader for `data` of an OpenAI-style answer, ordered by index."""

    def outputs(answer: object, count: int) -> list[Any]:
        data = answer.get("data") if is_object(answer) else None
        rows = _so_many(data, count)
        found: dict[int, Any] = {}
        for row in rows:
            index = row.get("index") if is_object(row) else None
            if not is_object(row) or type(index) is not int or key not in row:
                raise Misshapen(f"data without index and {key}")
            found[index] = row[key]
        if found.keys() != set(range(count)):
            raise Misshapen(f"data whose indices are not 0 to {count - 1}")
        return [found[at] for at in range(count)]

    return outputs


def _sglang_outputs(answer: object, count: int) -> list[Any]:
    rows = _so_many([answer] if is_object(answer) else answer, count)
    if not all(is_object(row) and "embedding" in row for row in rows):
        raise Misshapen("an answer without embedding")
    return [row["embedding"] for row in rows]


def _tei_outputs(answer: object, count: int) -> list[Any]:
    """Return the score of each label by name, because TEI sorts labels by score."""
    rows = _so_many(answer, count)
    found: list[dict[str, Any]] = []
    for row in rows:
        labels = row if is_list(row) else []
        if not labels or not all(is_object(each) and "score" in each for each in labels):
            raise Misshapen("predictions without score and label")
        found.append({str(each.get("label")): each["score"] for each in labels})
    return found


def _so_many(rows: object, count: int) -> list[Any]:
    if not is_list(rows):
        raise Misshapen("no list of outputs")
    if len(rows) != count:
        raise Misshapen(f"{len(rows)} outputs for {count} inputs")
    return rows


REWARD_WIRES: Mapping[RewardWireName, RewardWire] = {
    "vllm_pooling": RewardWire("/pooling", True, True, _vllm, _indexed("data")),
    "vllm_classify": RewardWire("/classify", True, True, _vllm, _indexed("probs")),
    "sglang_classify": RewardWire("/classify", True, False, _sglang, _sglang_outputs),
    "sglang_embeddings": RewardWire("/v1/embeddings", True, False, _openai, _indexed("embedding")),
    "tei_predict": RewardWire("/predict", False, False, _tei, _tei_outputs),
}


def score_in(output: object, label: int | str | None) -> float:
    """Return the score in an engine's output for one text; with one score per token, the last one.

    Raises:
        Misshapen: there is no such number, or several and no `label`.
    """
    if is_list(output) and output and is_list(output[-1]):
        output = output[-1]
    return _number(output, label)


def scores_in(output: object, label: int | str | None) -> list[float]:
    """Return the scores of the tokens or steps of one text.

    Raises:
        Misshapen: the output is not a list of scores.
    """
    if not is_list(output) or not all(is_list(row) for row in output):
        raise Misshapen("no list of numbers for each token or step")
    return [_number(row, label) for row in output]


def _number(row: object, label: int | str | None) -> float:
    if is_object(row):
        names: list[Any] = list(row)
        values: list[Any] = list(row.values())
    elif is_list(row):
        names, values = list(range(len(row))), list(row)
    else:
        raise Misshapen("an output that is not a list of numbers")
    if label is None and len(values) != 1:
        raise Misshapen(f"{len(values)} outputs ({', '.join(map(str, names))}); set label")
    if label is not None and label not in names:
        raise Misshapen(f"no output {label!r} among {', '.join(map(str, names))}")
    value = values[names.index(label) if label is not None else 0]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Misshapen(f"the output {value!r}, which is not a finite number")
    return float(value)
