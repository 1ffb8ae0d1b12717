"""Two answers in, the verdict on whether they are the same out, with the method that decided."""

from __future__ import annotations

import re
from fractions import Fraction

from msgspec import Struct

from reward_server.scorers.math.extract import find_answer, retracted
from reward_server.scorers.math.normalize import normalize_math_expression
from reward_server.scorers.math.policy import DEFAULT, Policy

_NUMBER = re.compile(r"(-?)[\\$]*(\d[\d,]*(?:\.\d*)?|\.\d+)(?:/(\d+))?")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(\d+)\}")

GroundTruth = str | int | float | list[str | int | float]


class UnreadableGroundTruth(ValueError):
    """The ground truth cannot be read: no verdict is possible, which is not a verdict of no."""


class Verdict(Struct, frozen=True):
    """Is the answer right, and why. `answer` is what was found in the response, and `place` where;
    `read_answer` and `read_ground_truth` are what the two were read as."""

    equal: bool
    method: str
    answer: str | None = None
    place: str | None = None
    read_answer: str | None = None
    read_ground_truth: str | None = None


def _rational(text: str) -> Fraction | None:
    if fraction := _FRACTION.fullmatch(text):
        below = int(fraction[3])
        value = Fraction(int(fraction[2]), below) if below else None
        return -value if value is not None and fraction[1] else value
    if number := _NUMBER.fullmatch(text):
        below = int(number[3] or 1)
        value = Fraction(number[2].replace(",", "")) / below if below else None
        return -value if value is not None and number[1] else value
    return None


def ground_truth_texts(ground_truth: GroundTruth | None) -> list[str]:
    """The acceptable answers that a ground truth names, each as text.

    Raises:
        UnreadableGroundTruth: there is none, or one of them is empty.
    """
    if isinstance(ground_truth, list):
        if not ground_truth:
            raise UnreadableGroundTruth("the ground truth is an empty list")
        return [text for one in ground_truth for text in ground_truth_texts(one)]
    if ground_truth is None or isinstance(ground_truth, bool):
        raise UnreadableGroundTruth(f"the ground truth is {ground_truth!r}")
    text = ground_truth if isinstance(ground_truth, str) else repr(ground_truth)
    if re.search(r"\\boxed|\\fbox|####|^A:", text, re.MULTILINE):
        found = find_answer(text, ("boxed", "hashes", "phrase"))
        text = found.text if found else text
    if not normalize_math_expression(text) or text.strip().lower() in ("nan", "none", "null"):
        raise UnreadableGroundTruth(f"the ground truth {text[:80]!r} has nothing to read")
    return [text]


def compare(answer: str, truth: str, policy: Policy = DEFAULT) -> Verdict:
    """The verdict on one answer against one acceptable answer, both without surroundings."""
    left, right = normalize_math_expression(answer), normalize_math_expression(truth)
    a, b = _rational(left), _rational(right)
    if a is not None and b is not None:
        return Verdict(a == b, "rational", answer, None, str(a), str(b))
    return Verdict(bool(left) and left == right, "text", answer, None, left, right)


def math_check(
    response: str, ground_truth: GroundTruth | None, policy: Policy = DEFAULT
) -> Verdict:
    """Find the answer of `response` and hold it against `ground_truth`.

    Raises:
        UnreadableGroundTruth: the ground truth is missing or cannot be read.
    """
    truths = ground_truth_texts(ground_truth)
    answer = find_answer(response, policy.answer_from)
    if answer is None:
        return Verdict(False, "no answer found")
    if policy.retractions == "refuse" and (taken_back := retracted(response, answer)):
        return Verdict(False, f"taken back: {taken_back!r}", answer.text, answer.place)
    verdict = Verdict(False, "no answer found")
    for truth in truths:
        verdict = compare(answer.text, truth, policy)
        if verdict.equal:
            break
    return Verdict(
        verdict.equal,
        verdict.method,
        answer.text,
        answer.place,
        verdict.read_answer,
        verdict.read_ground_truth,
    )


def math_equal(prediction: str, ground_truth: GroundTruth | None, policy: Policy = DEFAULT) -> bool:
    """Is `prediction`, an answer without surroundings, the same as `ground_truth`?

    Raises:
        UnreadableGroundTruth: the ground truth is missing or cannot be read.
    """
    return any(
        compare(prediction, truth, policy).equal for truth in ground_truth_texts(ground_truth)
    )
