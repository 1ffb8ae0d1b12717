"""GSM8K's labeled model solutions over HTTP: the verdicts agree with every label."""

from __future__ import annotations

import json
from pathlib import Path

from touchstone_rewards.clients import RemoteRewardClient
from touchstone_rewards.reward_server.live_server import LiveServer


def test_every_label_of_the_model_solutions_is_met(server: LiveServer, shared_data: Path) -> None:
    samples, labels = [], []
    with (shared_data / "gsm8k_model_solutions.jsonl").open() as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            truth = row["ground_truth"].rpartition("A:")[2].strip()
            for model, solved in row.items():
                if isinstance(solved, dict):
                    identity = f"{number}/{model}"
                    samples.append(
                        {"id": identity, "response": solved["solution"], "ground_truth": truth}
                    )
                    labels.append(float(solved["is_correct"]))
    with RemoteRewardClient(server.url) as client:
        results = client.score(samples, profile="math")
    wrong = [
        (sample["response"][-60:], sample["ground_truth"], result.reward)
        for sample, label, result in zip(samples, labels, results, strict=True)
        if result.reward != label
    ]
    assert len(labels) == 5276
    assert not wrong
