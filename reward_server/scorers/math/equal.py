"""Two answers in, the verdict on whether they are the same out, with the method that decided."""

from __future__ import annotations

import re
from zlib import crc32

from msgspec import Struct

from reward_server.scorers.math.compare import Case, same
from reward_server.scorers.math.extract import find_answer, retracted
from reward_server.scorers.math.normalize import normalize_math_expression
from reward_server.scorers.math.policy import DEFAULT, Policy
from reward_server.scorers.math.read import Reading, read, read_ground_truth
from reward_server.scorers.math.tree import Unreadable

_COMMA = re.compile(r"-?[0-9]+(?:,|\{,\})[0-9]+")

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
    """The verdict on one answer against one acceptable answer, both without surroundings.

    Raises:
        UnreadableGroundTruth: the acceptable answer cannot be read, and the answer is not the same
            text.
    """
    expected, given = read_ground_truth(truth), read(answer)
    if expected.node is None:
        return _as_text(answer, truth, expected, given)
    if given.node is None:
        return Verdict(False, "the answer cannot be read", answer, None, str(given), str(expected))
    case = Case(policy, crc32(f"{truth}\n{answer}".encode("utf-8", "replace")))
    try:
        equal = same(expected.node, given.node, case)
    except Unreadable as unreadable:
        return Verdict(False, str(unreadable), answer, None, str(given), str(expected))
    if not equal and policy.decimal_comma and _decimal_comma(answer, truth):
        return Verdict(True, "decimal comma", answer, None, str(given), str(expected))
    return Verdict(equal, case.method, answer, None, str(given), str(expected))


def _decimal_comma(answer: str, truth: str) -> bool:
    """Is one `1,22` and the other 1.22? Only a decimal with the same digits is meant by it."""
    for comma, point in ((answer, truth), (truth, answer)):
        written = comma.strip().strip("$")
        if _COMMA.fullmatch(written):
            return written.replace(",", ".").replace("{", "").replace(
                "}", ""
            ) == point.strip().strip("$")
    return False


def _as_text(answer: str, truth: str, expected: Reading, given: Reading) -> Verdict:
    left, right = normalize_math_expression(answer), normalize_math_expression(truth)
    if not right or left != right:
        raise UnreadableGroundTruth(f"the ground truth {truth[:80]!r}: {expected.reason}")
    return Verdict(True, "same text", answer, None, str(given), str(expected))


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
