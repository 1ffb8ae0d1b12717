"""Sums and products for a pretrained model, split so that no held-out pair occurs in training.

A seed gives the problems for training, for choosing a checkpoint and for the report, and others
that test transfer. No file is read and no model is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations_with_replacement, product
from typing import NamedTuple

# The assistant's turn starts like this; otherwise the model adds words around a bare sum.
BEGUN = "The answer is"
SUMS_TO, PRODUCTS_TO, FAR_SUMS_TO = 40, 20, 99
# Per kind: number of pairs held out for the report, and for choosing the checkpoint.
HELD_OUT = {"sum": 200, "product": 100}
VALIDATION = {"sum": 32, "product": 32}
TRAIN_EACH = 58
TRANSFER_EACH = 60


class Calculation(NamedTuple):
    """An arithmetic question about two numbers."""

    kind: str
    a: int
    b: int

    @property
    def pair(self) -> tuple[str, int, int]:
        """Return the problem regardless of operand order: 7 + 12 gives away 12 + 7."""
        return self.kind, min(self.a, self.b), max(self.a, self.b)

    @property
    def question(self) -> str:
        return QUESTIONS[self.kind].format(a=self.a, b=self.b)

    @property
    def ground_truth(self) -> int:
        if self.kind == "product":
            return self.a * self.b
        return self.a - self.b if self.kind == "difference" else self.a + self.b

    def row(self) -> dict[str, object]:
        """Return the problem as a row of a data file: a chat whose answer is begun."""
        asked = {"role": "user", "content": self.question}
        return {
            "id": f"{self.kind}-{self.a}-{self.b}",
            "prompt": [asked, {"role": "assistant", "content": BEGUN}],
            "ground_truth": str(self.ground_truth),
        }


QUESTIONS = {
    "sum": "What is {a} + {b}?",
    "product": "What is {a} * {b}?",
    "far sum": "What is {a} + {b}?",
    "difference": "What is {a} - {b}?",
    "sum in words": "Mia has {a} coins and gets {b} more. How many coins does Mia have now?",
}


class DemoSplit(NamedTuple):
    """Problems by use; no pair occurs in two of the first three lists."""

    train: list[Calculation]
    validation: list[Calculation]
    held_out: list[Calculation]
    transfer: list[Calculation]


def split_calculations(seed: int) -> DemoSplit:
    """Return the problems of a run: one per pair, with its two numbers in random order.

    All 820 pairs of sums of 1 to 40 and all 190 pairs of products of 2 to 20 are shuffled and
    split. Training uses as many sums as products. The sums in words use held-out pairs.
    """
    rng = random.Random(seed)
    held_out, validation, train = [], [], []
    for kind, least, most in (("sum", 1, SUMS_TO), ("product", 2, PRODUCTS_TO)):
        pairs = list(combinations_with_replacement(range(least, most + 1), 2))
        rng.shuffle(pairs)
        problems = _either_order(kind, pairs, rng)
        cut = HELD_OUT[kind]
        held_out += problems[:cut]
        validation += problems[cut : cut + VALIDATION[kind]]
        train += problems[cut + VALIDATION[kind] :][:TRAIN_EACH]
    rng.shuffle(train)
    return DemoSplit(train, validation, held_out, _transfer(held_out, rng))


def _transfer(held_out: list[Calculation], rng: random.Random) -> list[Calculation]:
    """Return problems of kinds that do not occur in training."""
    far = list(combinations_with_replacement(range(SUMS_TO + 1, FAR_SUMS_TO + 1), 2))
    less = [(a, b) for a, b in product(range(1, SUMS_TO + 1), repeat=2) if a >= b]
    sums = [each for each in held_out if each.kind == "sum"][:TRANSFER_EACH]
    return [
        *_either_order("far sum", rng.sample(far, TRANSFER_EACH), rng),
        *(Calculation("difference", a, b) for a, b in rng.sample(less, TRANSFER_EACH)),
        *(Calculation("sum in words", each.a, each.b) for each in sums),
    ]


def _either_order(
    kind: str, pairs: Iterable[tuple[int, int]], rng: random.Random
) -> list[Calculation]:
    return [Calculation(kind, *rng.sample(pair, 2)) for pair in pairs]
