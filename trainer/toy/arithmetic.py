"""One-step arithmetic word problems, on which the quick demo and the tests train and measure.

Problems are drawn from a seed. They are split so that no sum of the test half occurs in training.
No file is read and no model is used.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

Sum = tuple[int, int, Literal["+", "-"]]

PROMPT = "Think, then answer in tags.\nUser: {question}\nAssistant: <think>"
NAMES = ("Tom", "Mia", "Ben", "Zoe", "Sam", "Ida")
THINGS = ("apples", "books", "coins", "pens", "cards")
TEMPLATES: dict[str, tuple[str, ...]] = {
    "+": (
        "{name} has {a} {thing} and gets {b} more. How many {thing} are there now?",
        "There are {a} {thing} in a box. {name} puts in {b} more. How many are in the box?",
        "{name} buys {a} {thing} today and {b} tomorrow. How many {thing} is that?",
        "A shelf holds {a} {thing}, {name} adds {b}. What is the number of {thing}?",
    ),
    "-": (
        "{name} has {a} {thing} and gives away {b}. How many {thing} are there now?",
        "There are {a} {thing} in a box. {name} takes out {b}. How many are in the box?",
        "{name} buys {a} {thing} today and loses {b} tomorrow. How many {thing} is that?",
        "A shelf holds {a} {thing}, {name} removes {b}. What is the number of {thing}?",
    ),
}
LARGEST_OPERAND = 19
HELD_OUT_FRACTION = 0.15


@dataclass(frozen=True)
class Problem:
    """One word problem. `style` is the number of its template, 0 to 3."""

    sum: Sum
    style: int
    name: str
    thing: str

    @property
    def ground_truth(self) -> str:
        a, b, op = self.sum
        return str(a + b if op == "+" else a - b)

    @property
    def working(self) -> str:
        a, b, op = self.sum
        return f"{a}{op}{b}={self.ground_truth}"

    @property
    def prompt(self) -> str:
        a, b, op = self.sum
        text = TEMPLATES[op][self.style].format(a=a, b=b, name=self.name, thing=self.thing)
        return PROMPT.format(question=text)


class Split(NamedTuple):
    """Training and test sums: disjoint, even when operands are swapped."""

    train: list[Sum]
    test: list[Sum]


def split_sums(seed: int) -> Split:
    """Split all sums of operands 1 to 19, and all differences not below zero, by unordered pair."""
    pairs = [(a, b) for a, b in product(range(1, LARGEST_OPERAND + 1), repeat=2) if a >= b]
    random.Random(seed).shuffle(pairs)
    cut = round(len(pairs) * HELD_OUT_FRACTION)
    return Split(_sums(pairs[cut:]), _sums(pairs[:cut]))


def _sums(pairs: list[tuple[int, int]]) -> list[Sum]:
    # 7+12 gives away 12+7, so both orders stay on the same side of the split.
    orders = {(x, y) for a, b in pairs for x, y in ((a, b), (b, a))}
    sums: list[Sum] = [(a, b, "+") for a, b in sorted(orders)]
    return sums + [(a, b, "-") for a, b in sorted(pairs)]


def draw_problems(sums: list[Sum], count: int, seed: int) -> list[Problem]:
    """Draw `count` different problems over `sums`, using each sum about equally often.

    Raises:
        ValueError: these sums give fewer than `count` different problems.
    """
    rng = random.Random(seed)
    most = len(sums) * 4 * len(NAMES) * len(THINGS)
    if count > most:
        raise ValueError(f"{count} problems wanted, but {len(sums)} sums give only {most}")
    problems: dict[Problem, None] = {}
    while len(problems) < count:
        for a_sum in rng.sample(sums, len(sums)):
            style = rng.randrange(4)
            problems[Problem(a_sum, style, rng.choice(NAMES), rng.choice(THINGS))] = None
    return list(problems)[:count]


def tagged_response(problem: Problem) -> str:
    """Return the response in the format that the `r1_zero` profile requires."""
    return f" {problem.working} </think> <answer> {problem.ground_truth} </answer>"


def plain_response(problem: Problem) -> str:
    """Return the same working and answer in words, without tags."""
    return f" {problem.working} so the answer is {problem.ground_truth}."
