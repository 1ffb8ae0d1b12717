"""Compare the answer of a response with a ground truth: the public entry points of the engine.

`math_check` and `verify` extract the answer of a response first; `math_equal` takes an answer. The
rules of equality are in `rules/compare`. A ground truth that cannot be read is an error, never a
negative verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

from msgspec import Struct, structs

from touchstone_rewards.reward_server.scorers.math.answers.read import Reading, read
from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.extract import find_answer, find_boxes, retracted
from touchstone_rewards.reward_server.scorers.math.grammar.normalize import (
    normalize_math_expression,
)
from touchstone_rewards.reward_server.scorers.math.numbers.evaluated import evaluated
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import (
    BINDING,
    constant_value,
    is_constant,
)
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import TooMuchWork, refill
from touchstone_rewards.reward_server.scorers.math.policy import DEFAULT, Policy, make_policy
from touchstone_rewards.reward_server.scorers.math.rules.compare import (
    new_case,
    same,
    same_as_itself,
)
from touchstone_rewards.reward_server.scorers.math.rules.comparison import Case
from touchstone_rewards.reward_server.scorers.math.rules.derivative_names import (
    may_differ,
    respelled,
)
from touchstone_rewards.reward_server.scorers.math.tree import Node, TooLarge, Unreadable, contains

MAX_BOXES = 64
REMEMBERED_CHARS = 2_000  # of a ground truth to cache; longer ones would fill the memory

_UNDECIDED = frozenset(["other"])  # limits and integrals: equal to themselves, otherwise unknown
_OPERATORS = _UNDECIDED | BINDING
_OF_CONSTANTS = frozenset(["integral", "infinite sum"])  # unknown if they contain a variable
# 0,125 and 1,22 are decimals; 1,234 may be a number with a thousands separator.
_COMMA = re.compile(r"-?(?:0,[0-9]+|[0-9]+,(?![0-9]{3}$)[0-9]+)")
_SURROUNDED = re.compile(r"\\boxed|\\fbox|####|^A:", re.MULTILINE)

GroundTruth = str | int | float | Sequence[str | int | float]


class UnreadableGroundTruth(ValueError):
    """The ground truth cannot be read, so there is no verdict, not even a negative one."""


class Verdict(Struct, frozen=True):
    """The result of a comparison and the method that decided; true in a condition if the answer is
    right.

    `answer`: the answer found in the response. `place`, `span`: where it was found. `given`,
    `expected`: how answer and ground truth were read.
    """

    equal: bool
    method: str
    answer: str | None = None
    place: str | None = None
    span: tuple[int, int] | None = None
    given: Reading | None = None
    expected: Reading | None = None

    def __bool__(self) -> bool:
        return self.equal

    def __repr__(self) -> str:
        said = self.explain()
        shown = ("equal", "method", "answer", "place", "read_answer", "read_ground_truth")
        parts = (f"{name}={said[name]!r}" for name in shown if said[name] is not None)
        return f"Verdict({', '.join(parts)})"

    @property
    def reason(self) -> str:
        """Return one line that says what was compared and which method decided.

        `'1/2' is the ground truth 1/2: exact rationals`
        """
        if self.answer is None:
            return self.method
        verb = "is" if self.equal else "was not shown to be" if self.undecided else "is not"
        expected = "" if self.expected is None else f" {self.expected}"
        return f"{self.answer[:80]!r} {verb} the ground truth{expected[:80]}: {self.method}"

    @property
    def undecided(self) -> bool:
        """True if the scorer reached a limit, so the answer may be right all the same."""
        return self.method.startswith("undecided")

    def explain(self) -> dict[str, str | bool | list[int] | None]:
        """Return the verdict as a dict of plain values for people."""
        return {
            "equal": self.equal,
            "method": self.method,
            "answer": self.answer,
            "place": self.place,
            "span": None if self.span is None else list(self.span),
            "read_answer": None if self.given is None else str(self.given),
            "read_ground_truth": None if self.expected is None else str(self.expected),
        }


def ground_truth_texts(ground_truth: GroundTruth | None) -> list[str]:
    """Return the acceptable answers of a ground truth as texts.

    Raises:
        UnreadableGroundTruth: there is none, or one of them is empty.
    """
    if isinstance(ground_truth, str):
        return [
            _answer_of(ground_truth) if len(ground_truth) <= 2_000 else _answer_in(ground_truth)
        ]
    if isinstance(ground_truth, int | float) and not isinstance(ground_truth, bool):
        return [_answer_of(repr(ground_truth))]
    if isinstance(ground_truth, Sequence) and ground_truth:
        return [text for one in ground_truth for text in ground_truth_texts(one)]
    raise UnreadableGroundTruth(f"the ground truth is {ground_truth!r}; expected an answer")


def _answer_in(truth: str) -> str:
    """Return the answer in a ground truth: a box, the end of a GSM8K
    solution, or the text itself."""
    text = truth
    if _SURROUNDED.search(truth) and (found := find_answer(truth, ("boxed", "hashes", "phrase"))):
        text = found.text
    if not normalize_math_expression(text):
        raise UnreadableGroundTruth(f"the ground truth {truth[:80]!r} is empty")
    return text


def _answer_of(truth: str) -> str:
    return _remembered(truth) if len(truth) <= REMEMBERED_CHARS else _answer_in(truth)


_remembered = lru_cache(maxsize=4096)(_answer_in)


def compare(answer: str, truth: str, policy: Policy = DEFAULT) -> Verdict:
    """Compare one answer with one acceptable answer, both without surrounding text.

    Raises:
        UnreadableGroundTruth: the acceptable answer cannot be read, and the answer is not the same
            text.
    """
    expected = read(truth)
    if expected.node is not None and answer.strip() == truth.strip():
        return Verdict(True, "same text", answer, None, None, expected, expected)
    given = read(answer)
    if expected.node is None:
        return _as_text(answer, truth, given, expected)
    if given.node is None:
        method = f"undecided: {given.reason}" if given.undecided else "the answer cannot be read"
        return Verdict(False, method, answer, None, None, given, expected)
    refill()
    case = new_case(policy, crc32(f"{truth}\n{answer}".encode("utf-8", "replace")))
    try:
        equal = same(expected.node, given.node, case)
        if not equal and may_differ(truth, answer):
            spelled = respelled(expected.node, given.node)
            equal = spelled is not None and same(spelled[0], spelled[1], case)
    except (TooMuchWork, TooLarge, RecursionError) as limit:
        _check_alone(truth, expected.node, case)
        equal = case.decided(f"undecided: {limit}", False)
    except Unreadable as unreadable:
        equal = case.decided(str(unreadable), False)
    if equal and policy.evaluated == "required" and not evaluated(expected.node, given.node):
        equal = case.decided("an integer is wanted, and this is not worked out", False)
    if not equal and policy.decimal_comma and _decimal_comma(answer, truth):
        return Verdict(True, "decimal comma", answer, None, None, given, expected)
    if not equal and has_unknown_part(expected.node):
        raise UnreadableGroundTruth(
            f"the ground truth {truth[:80]!r} has a part that cannot be evaluated"
        )
    return Verdict(equal, case.method, answer, None, None, given, expected)


def has_unknown_part(node: Node) -> bool:
    """Tell whether the ground truth has an unevaluated operator, or a limit, sum or
    integral of unknown value."""
    if not contains(node, _OPERATORS):
        return False
    if contains(node, _UNDECIDED):
        return True
    if not is_constant(node):
        return contains(node, _OF_CONSTANTS)
    refill()
    try:
        return constant_value(node) is None
    except TooMuchWork:
        return True


def _check_alone(truth: str, node: Node, case: Case) -> None:
    """Check that the ground truth alone does not exhaust the work budget.

    Raises:
        UnreadableGroundTruth: it does.
    """
    try:
        same_as_itself(node, case.policy, case.seed)
    except (TooMuchWork, TooLarge) as limit:
        raise UnreadableGroundTruth(f"the ground truth {truth[:80]!r}: {limit}") from limit


def _decimal_comma(answer: str, truth: str) -> bool:
    """Tell whether the answer is the ground truth's decimal written with a comma: 1,22 for 1.22.

    In a ground truth itself, a comma separates two numbers, or groups digits before three digits.
    """
    written = answer.strip(" $")
    return bool(_COMMA.fullmatch(written)) and written.replace(",", ".") == truth.strip(" $")


def _as_text(answer: str, truth: str, given: Reading, expected: Reading) -> Verdict:
    left, right = normalize_math_expression(answer), normalize_math_expression(truth)
    if left != right:
        raise UnreadableGroundTruth(f"the ground truth {truth[:80]!r}: {expected.reason}")
    return Verdict(True, "same text", answer, None, None, given, expected)


def _best(answer: str, truths: list[str], policy: Policy) -> Verdict:
    """Return the verdict against any of the acceptable answers.

    Raises:
        UnreadableGroundTruth: no readable one matches, and at least one cannot be read.
    """
    unreadable: UnreadableGroundTruth | None = None
    verdict: Verdict | None = None
    for truth in truths:
        try:
            verdict = compare(answer, truth, policy)
        except UnreadableGroundTruth as error:
            unreadable = error
        else:
            if verdict.equal:
                return verdict
    if unreadable is not None or verdict is None:
        raise unreadable or UnreadableGroundTruth("there is no ground truth")
    return verdict


def math_check(
    response: str, ground_truth: GroundTruth | None, policy: Policy = DEFAULT
) -> Verdict:
    """Extract the answer of `response` and compare it with `ground_truth`.

    Special tokens at the end of the response are ignored: `#### 46</s>` says 46.

    Raises:
        UnreadableGroundTruth: the ground truth is missing or cannot be read.

    Example:
        >>> math_check("#### 0.5", "1/2").method
        'exact rationals'
    """
    truths = ground_truth_texts(ground_truth)
    response = without_end_tokens(response)
    answer = find_answer(response, policy.answer_from)
    if answer is None:
        return Verdict(False, "no answer found")
    if policy.retractions == "refuse" and (taken_back := retracted(response, answer)):
        method = f"taken back: {taken_back!r}"
        return Verdict(False, method, answer.text, answer.place, (answer.start, answer.end))
    verdict = _best(answer.text, truths, policy)
    if verdict.equal and policy.boxes == "all_agree" and answer.place == "boxed":
        verdict = _all_agree(response, verdict, lambda box: _best(box, truths, policy))
    if verdict.equal and answer.also is not None and not _best(answer.also, truths, policy).equal:
        verdict = structs.replace(verdict, equal=False, method=f"later it says {answer.also!r}")
    span = (answer.start, answer.end)
    return structs.replace(verdict, answer=answer.text, place=answer.place, span=span)


def verify(ground_truth: GroundTruth | None, response: str, **config: Any) -> Verdict:
    r"""Extract the answer of `response` and compare it with `ground_truth`; the verdict says why.

    `config`: keys of the scorer's configuration, see docs/math.md.

    Raises:
        UnreadableGroundTruth: the ground truth is missing or cannot be read: there is no verdict.
        TypeError: a config key does not exist.
        ValueError: the value of a config key is invalid.

    Example:
        >>> verdict = verify("0.5", "so it is \\boxed{2/4}")
        >>> bool(verdict), verdict.reason
        (True, "'2/4' is the ground truth 1/2: exact rationals")
    """
    return math_check(response, ground_truth, make_policy(config) if config else DEFAULT)


def _all_agree(response: str, verdict: Verdict, judge: Callable[[str], Verdict]) -> Verdict:
    """Return `verdict` if every box of the response is right, otherwise
    the verdict on a wrong box."""
    for box in find_boxes(response, MAX_BOXES):
        other = judge(box)
        if not other.equal:
            return structs.replace(other, method=f"another box holds {box!r}")
    return verdict


def math_equal(prediction: str, ground_truth: GroundTruth | None, policy: Policy = DEFAULT) -> bool:
    """Tell whether `prediction`, an answer without surrounding text, equals `ground_truth`.

    Raises:
        UnreadableGroundTruth: the ground truth is missing or cannot be read.

    Example:
        >>> math_equal("50%", "1/2")
        True
    """
    return _best(prediction, ground_truth_texts(ground_truth), policy).equal
