"""Reward models and DPO on pretrained weights, from pairs of the model's own answers.

The model answers sums and products six times each; the profile `math` ranks the answers; a pair is
a right and a wrong one. A value head and DiscoRM learn to tell them apart, with three seeds each;
baselines are a bag of words and the length, on the same pairs. Held-out pairs use other numbers.
DPO learns from the same pairs and is evaluated on its answers. Finished parts are skipped.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import record
from benchmarks._real import RUNS, compared, fill_page, measured, right_by_row, trained, write_rows
from touchstone_rewards.trainer.data.kept_samples import KeptSample
from touchstone_rewards.trainer.demo.base_model import fetched_model
from touchstone_rewards.trainer.demo.problems import PRODUCTS_TO, SUMS_TO, Calculation
from touchstone_rewards.trainer.preference.pairs import extremes, pairs_of
from touchstone_rewards.trainer.preference.reward_model import PREDICTIONS
from touchstone_rewards.trainer.running.paired import difference, estimate
from touchstone_rewards.trainer.workflow.local_server import reward_server
from touchstone_rewards.trainer.workflow.stages import only_one

LOSSES = ("pairwise", "disco")
WORD = re.compile(r"\d+|\w+|[^\w\s]")
ByRow = dict[str, float]


class Sizes(NamedTuple):
    """Amounts of answers and training: about 3,000 processor seconds by default."""

    train: int = 600
    test: int = 300
    samples: int = 6
    temperature: float = 0.7
    rm_steps: int = 30
    dpo_steps: int = 12
    seeds: tuple[int, ...] = (0, 1, 2)


class Part(NamedTuple):
    """Problems, and the pairs made from the model's answers to them."""

    problems: Path
    pairs: Path


def drawn_problems() -> list[Calculation]:
    """Return every sum and product of the demo's numbers once, in a fixed random order."""
    sums = combinations_with_replacement(range(1, SUMS_TO + 1), 2)
    products = combinations_with_replacement(range(2, PRODUCTS_TO + 1), 2)
    problems = [
        *(Calculation("sum", a, b) for a, b in sums),
        *(Calculation("product", a, b) for a, b in products),
    ]
    random.Random(0).shuffle(problems)
    return problems


def make_pairs(
    folder: Path, name: str, problems: Sequence[Calculation], model: Path, url: str, sizes: Sizes
) -> Part:
    """Answer the problems, rank the answers with `math`, and keep a right and a wrong one of
    each."""
    data = write_rows(folder / f"{name}.jsonl", [problem.row() for problem in problems])
    how = [f"--num_samples={sizes.samples}", f"--temperature={sizes.temperature}"]
    how += ["--max_new_tokens=5", "--batch_size=64"]
    lines = measured(folder, f"answers_{name}", model, data, url, "math", *how)
    counts: Counter[str] = Counter()
    pairs = list(pairs_of(extremes(map(kept, lines)).values(), 0.5, counts))
    print(f"{name}: {len(pairs)} pairs of {len(problems)} problems; {dict(counts)}")
    return Part(data, write_rows(folder / f"pairs_{name}.jsonl", pairs))


def kept(line: Mapping[str, Any]) -> KeptSample:
    """Convert a line of an evaluation to a kept sample."""
    same = {key: line[key] for key in ("id", "prompt", "response", "reward", "scores", "group")}
    return KeptSample(**same, step=0, epoch=0.0, fingerprint=None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ranked(scores: Sequence[tuple[str, float, float]]) -> ByRow:
    """Return 1 for each pair whose chosen side scores higher, 0.5 for equal scores, else 0."""
    return {
        name: (chosen > rejected) + 0.5 * (chosen == rejected) for name, chosen, rejected in scores
    }


def predicted(path: Path) -> ByRow:
    """Return which pairs a run's predictions rank right."""
    return ranked([(each["id"], each["chosen"], each["rejected"]) for each in read_rows(path)])


def words_of(text: str) -> Counter[str]:
    return Counter(WORD.findall(text.lower()))


def by_words(train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]]) -> ByRow:
    """Rank by a logistic regression on the difference of word counts, with ridge 0.01."""
    sides = [[words_of(pair[side]) for pair in train] for side in ("chosen", "rejected")]
    known = {word: place for place, word in enumerate(sorted(set().union(*sides[0], *sides[1])))}

    def counts(texts: Sequence[Counter[str]]) -> torch.Tensor:
        table = torch.zeros(len(texts), len(known))
        for row, words in enumerate(texts):
            for word in words.keys() & known.keys():
                table[row, known[word]] = words[word]
        return table

    differences = counts(sides[0]) - counts(sides[1])
    weights = torch.zeros(len(known), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = torch.nn.functional.softplus(-differences @ weights).mean()
        found = found + 0.01 * weights.square().sum()
        found.backward()
        return found

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        chosen, rejected = (
            counts([words_of(pair[side]) for pair in test]) @ weights
            for side in ("chosen", "rejected")
        )
    ids = [pair["id"] for pair in test]
    return ranked(list(zip(ids, chosen.tolist(), rejected.tolist(), strict=True)))


def by_length(train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]]) -> ByRow:
    """Rank by length: prefer the longer or the shorter text, as fits the training pairs."""

    def lengths(pairs: Sequence[dict[str, Any]], sign: int) -> list[tuple[str, float, float]]:
        return [
            (pair["id"], sign * len(pair["chosen"]), sign * len(pair["rejected"])) for pair in pairs
        ]

    sign = max((1, -1), key=lambda each: sum(ranked(lengths(train, each)).values()))
    return ranked(lengths(test, sign))


def reward_models(
    folder: Path, model: Path, train: Path, test: Path, sizes: Sizes
) -> dict[str, list[ByRow]]:
    """Return which held-out pairs the reward models rank right, by loss and seed."""
    found: dict[str, list[ByRow]] = {}
    for loss in LOSSES:
        for seed in sizes.seeds:
            run = trained(
                folder,
                "rm",
                f"{loss}.seed{seed}",
                model_name_or_path=str(model),
                dataset_name=str(train),
                eval_dataset_name=str(test),
                eval_strategy="steps",
                eval_steps=sizes.rm_steps,
                save_predictions=True,
                loss=loss,
                learning_rate=2e-5,
                per_device_train_batch_size=8,
                max_steps=sizes.rm_steps,
                seed=seed,
            )
            found.setdefault(loss, []).append(predicted(run / PREDICTIONS))
    return found


def preference(folder: Path, model: Path, parts: dict[str, Part], url: str, sizes: Sizes) -> Any:
    """Return which held-out problems are answered right greedily, after DPO with each seed and
    before."""

    def answered(name: str, of: Path) -> ByRow:
        how = ["--max_new_tokens=5", "--batch_size=60"]
        return right_by_row(measured(folder, name, of, parts["test"].problems, url, "math", *how))

    after = []
    for seed in sizes.seeds:
        run = trained(
            folder,
            "dpo",
            f"dpo.seed{seed}",
            model_name_or_path=str(model),
            dataset_name=str(parts["train"].pairs),
            learning_rate=5e-6,
            beta=0.1,
            per_device_train_batch_size=8,
            max_steps=sizes.dpo_steps,
            seed=seed,
        )
        after.append(answered(f"greedy_dpo.seed{seed}", run))
    return after, [answered("greedy_before", model)] * len(after)


def rows_of(
    models: dict[str, list[ByRow]], peers: dict[str, ByRow], dpo: tuple[list[ByRow], list[ByRow]]
) -> list[dict[str, Any]]:
    """Compare each reward model with each baseline, and DPO with the model before it."""
    rows = []
    for loss, ours in models.items():
        for name, peer in peers.items():
            same = [peer] * len(ours)
            estimates = estimate(ours), estimate(same), difference(ours, same)
            rows.append(compared(f"held-out pairs ranked right, {loss}; peer: {name}", *estimates))
    after, before = dpo
    estimates = estimate(after), estimate(before), difference(after, before)
    rows.append(
        compared("held-out problems right, greedy, DPO; peer: the model before", *estimates)
    )
    return rows


def main(
    folder: Path = RUNS / "pairs", model: Path | None = None, sizes: Sizes | None = None
) -> None:
    """Run the unfinished parts, then print and record the results."""
    torch.set_num_threads(1)
    sizes, model = sizes or Sizes(), model or fetched_model()
    drawn = drawn_problems()
    problems = {"train": drawn[: sizes.train], "test": drawn[-sizes.test :]}
    with only_one(folder), reward_server(folder / "server.log") as url:
        parts = {
            name: make_pairs(folder, name, each, model, url, sizes)
            for name, each in problems.items()
        }
        train, test = (read_rows(part.pairs) for part in parts.values())
        models = reward_models(folder, model, parts["train"].pairs, parts["test"].pairs, sizes)
        dpo = preference(folder, model, parts, url, sizes)
    assert all(
        run.keys() == {pair["id"] for pair in test} for runs in models.values() for run in runs
    )
    peers = {"bag of words": by_words(train, test), "length": by_length(train, test)}
    record(
        "real_pairs",
        rows_of(models, peers, dpo),
        peer="a bag of words, the length, the model before",
        pairs={"train": len(train), "test": len(test)},
        sizes=sizes._asdict(),
    )
    fill_page()


if __name__ == "__main__":
    main()
