"""reasoning-gym's verifiers: as `docs/launch/reasoning_gym_rewards.py` calls them, and directly.

reasoning_tasks.py LAUNCH prints where the two differ, and whose verifier evaluates a text as code.
"""

from __future__ import annotations

import json
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])

import reasoning_gym  # pyright: ignore[reportMissingImports]
from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]
from reasoning_gym.utils import extract_answer  # pyright: ignore[reportMissingImports]
from reasoning_gym_rewards import last_answer  # pyright: ignore[reportMissingImports]

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer

ANSWERS = ("46", "[46]", "[['46']]", "x + 1", "'a'", "")
RESPONSES = (
    "<answer>46",
    "</answer>46",
    "<answer>1<answer>2</answer>3</answer>",
    "<answer> 4 </answer> </answer>",
)
compiled: list[str] = []


def watch(event: str, arguments: Any) -> None:
    if event == "compile" and arguments[1] == "<string>":
        compiled.append(str(arguments[0]))


sys.addaudithook(watch)
scorer: Any = build_scorer("reasoning_gym_rewards:score_answer", {})


def ours(entry: dict[str, Any], response: str, answer: Any = None) -> float | None:
    """Return the scorer's verdict on an entry that came as JSON."""
    sent = json.loads(json.dumps(entry))
    truth = sent["answer"] if answer is None else answer
    sample = Sample("1", response, sent["question"], truth, metadata=sent["metadata"])
    try:
        return scorer.score([sample])[0].value
    except Exception:  # noqa: BLE001
        return None  # a worker would turn this into the sample's error


def theirs(dataset: Any, entry: dict[str, Any], answer: str | None) -> Any:
    try:
        return dataset.score_answer(answer, entry)
    except Exception:  # noqa: BLE001  not every verifier bears every text
        return None if entry["answer"] is None else 0.0


def main() -> None:
    differ: list[str] = []
    evaluate: set[str] = set()
    refused: list[str] = []
    for name in sorted(set(DATASETS) - {"composite"}):
        dataset = reasoning_gym.create_dataset(name, size=2, seed=7)
        entry = dataset[0]
        texts = [*ANSWERS, *([entry["answer"]] if entry["answer"] else [])]
        expected = [theirs(dataset, entry, text) for text in texts]  # once, for lazy imports
        compiled.clear()
        expected = [theirs(dataset, entry, text) for text in texts]
        if compiled:
            evaluate.add(name)
        compiled.clear()
        found = [ours(entry, f"Well: <answer>{text}</answer>") for text in texts]
        if found == [None] * len(texts):
            refused.append(name)
        elif found != expected:
            differ.append(f"{name}: {found}, not {expected}")
        if compiled:
            differ.append(f"{name}: the scorer had {compiled[0]!r} evaluated")
    chain = reasoning_gym.create_dataset("chain_sum", size=1, seed=7)[0]
    print()  # a verifier leaves its own line unfinished
    print(
        json.dumps(
            {
                "datasets": len(DATASETS),
                "differ": differ,
                "evaluate": sorted(evaluate),
                "refused": refused,
                "no_answer": ours(chain, chain["answer"]),
                "another_entry": ours({**chain, "metadata": {}}, "<answer>1</answer>"),
                "broken_entry": ours(
                    reasoning_gym.create_dataset("arc_agi", size=1, seed=7)[0],
                    "<answer>1</answer>",
                    "another board",
                ),
                "extracted": [(last_answer(text), extract_answer(text)) for text in RESPONSES],
            }
        )
    )


main()
