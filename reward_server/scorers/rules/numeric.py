"""Compare the number in a response with the ground truth within a tolerance, converting units."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from flint import arb, fmpq
from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.math.answers.read import read
from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.extract import PLACES, find_answer, retracted
from touchstone_rewards.reward_server.scorers.math.extraction.places import Place
from touchstone_rewards.reward_server.scorers.math.grammar.units import Unit, make_units
from touchstone_rewards.reward_server.scorers.math.numbers.same_value import real_value
from touchstone_rewards.reward_server.scorers.math.numbers.work_budget import TooMuchWork, refill
from touchstone_rewards.reward_server.scorers.math.tree import VALUES, Node, Unreadable
from touchstone_rewards.reward_server.scorers.rules.rule import (
    Rule,
    RuleConfig,
    RulePlace,
    RuleVerdict,
    Unscorable,
    shown,
    truths,
)

_ABOUT = re.compile(
    r"(?:about|approximately|approx\.?|roughly|around|circa|ca\.|nearly|almost|≈|~|\\approx|\\sim"
    r"|约|大约|約|およそ|etwa|environ|aproximadamente|около)\s{0,4}",
    re.IGNORECASE,
)
ROUNDING = 1e-9  # an excess this small counts as within the tolerance


class NumericConfig(RuleConfig):
    """Config of `numeric`."""

    absolute: float = Field(
        default=0.0,
        ge=0.0,
        description="absolute tolerance; the larger of the two tolerances counts",
    )
    relative: float = Field(
        default=1e-6, ge=0.0, lt=1.0, description="tolerance as a share of the ground truth"
    )
    units: Literal["optional", "required", "ignored"] = Field(
        default="optional",
        description="whether a unit may be missing, must be there, or is ignored",
    )
    percent: Literal["either", "value"] = Field(
        default="either",
        description="with either, 20% equals both 0.2 and 20; with value, only 0.2",
    )
    answer_from: list[Place] = Field(
        default=list(PLACES),
        min_length=1,
        description="places to look for the answer, in this order; as in math",
    )


class QuantityRead(NamedTuple):
    """A value, the units after it (several if a word has several meanings), and
    whether a percent sign follows."""

    value: arb
    units: tuple[Unit, ...] = ()
    percent: bool = False
    spelled: tuple[tuple[str, int], ...] = ()


class NumericScorer(Rule[NumericConfig]):
    """Score 1 if the number is within the tolerance of an acceptable answer, else 0.

    Numbers and units are parsed by the math scorer's reader. Values are never NaN or infinite.
    """

    version = "1"
    runs_in: RulePlace = "worker"  # the reader computes with flint
    config_type = NumericConfig

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.absolute, self.relative = (
            arb(fmpq(*Fraction(str(tolerance)).as_integer_ratio()))
            for tolerance in (self.config.absolute, self.config.relative)
        )

    def judge(self, sample: Sample) -> RuleVerdict:
        accepted = [_truth(text) for text in truths(sample)]
        response = without_end_tokens(sample.response)
        answer = find_answer(response, self.config.answer_from)
        if answer is None:
            return RuleVerdict(0.0, {"rule": "no answer found"})
        told: dict[str, Any] = {"answer": shown(answer.text), "place": answer.place}
        if taken_back := retracted(response, answer):
            return RuleVerdict(0.0, told | {"rule": f"taken back: {shown(taken_back)!r}"})
        texts = [answer.text] if answer.also is None else [answer.text, answer.also]
        numbers = [number_in(text) for text in texts]
        right = all(
            number is not None and any(self._near(number, truth) for truth in accepted)
            for number in numbers
        )
        first = numbers[0]
        told["read"] = "no one number" if first is None else first.value.str(12, radius=False)
        return RuleVerdict(float(right), told)

    def _near(self, given: QuantityRead, truth: QuantityRead) -> bool:
        if self.config.units == "ignored":
            return self._within(given.value, truth.value)
        if given.percent or truth.percent:
            return self._near_percent(given, truth)
        if bool(given.spelled) != bool(truth.spelled):
            wanting = self.config.units == "required" and truth.spelled
            return not wanting and not given.spelled and self._within(given.value, truth.value)
        if given.spelled == truth.spelled:
            return self._within(given.value, truth.value)
        return any(
            self._within(_converted(given.value, own, wanted), truth.value)
            for own in given.units
            for wanted in truth.units
            if own.dimensions == wanted.dimensions
        )

    def _near_percent(self, given: QuantityRead, truth: QuantityRead) -> bool:
        if given.spelled or truth.spelled:
            return False
        if self._within(given.value, truth.value):
            return True
        if self.config.percent == "value" or given.percent == truth.percent:
            return False
        hundredfold = [one.value * 100 if one.percent else one.value for one in (given, truth)]
        return self._within(*hundredfold)

    def _within(self, given: arb, truth: arb) -> bool:
        off = abs(given - truth)
        tolerance = max((self.absolute, self.relative * abs(truth)), key=lambda ball: ball.mid())
        if tolerance == 0:
            return bool(off == 0)
        ratio = off / tolerance
        return bool(ratio.rad() < ROUNDING) and bool(ratio.mid() <= 1 + ROUNDING)


def number_in(text: str) -> QuantityRead | None:
    """Return the single finite number stated by a text, or None."""
    if about := _ABOUT.match(text.lstrip(" $")):
        text = text.lstrip(" $")[about.end() :]
    node = read(text).node
    while node is not None and node.op in ("assigned", "labelled", "text"):
        node = node.args[0] if node.args else None
    if node is None:
        return None
    units: tuple[Unit, ...] = ()
    spelled: tuple[tuple[str, int], ...] = ()
    if node.op == "quantity":
        spelled, units = node.value, make_units(node.value)
        node = node.args[0]
    value = _value(node)
    return None if value is None else QuantityRead(value, units, node.op == "percent", spelled)


def _value(node: Node) -> arb | None:
    if node.op not in VALUES:
        return None
    refill()
    try:
        value = real_value(node)
    except (TooMuchWork, Unreadable, RecursionError):
        return None
    return value if value is not None and value.is_finite() else None


def _truth(text: str) -> QuantityRead:
    number = number_in(text)
    if number is None:
        raise Unscorable(
            "bad_ground_truth", f"the ground truth {text[:80]!r} is not a finite number"
        )
    return number


def _converted(value: arb, own: Unit, wanted: Unit) -> arb:
    ratio = own.factor / wanted.factor
    return value * arb(ratio) + arb(own.offset * ratio - wanted.offset)
