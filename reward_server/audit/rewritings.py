"""Rewrite right answers: other spellings of the same value, and common phrasings around it.

Whether a profile should refuse one is for its owner to decide: a profile that asks for a box
refuses answers without one on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from touchstone_rewards.reward_server.audit.forms import FORMS, WRAPPINGS, stated
from touchstone_rewards.reward_server.audit.forms_tried import RightAnswers
from touchstone_rewards.reward_server.audit.near_misses import number_in
from touchstone_rewards.reward_server.audit.report import RewritingOutcome
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.scored import AuditedProfile, ScoredBatch, score_all
from touchstone_rewards.reward_server.audit.shares import share, shown
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_equal
from touchstone_rewards.reward_server.scorers.math.equal import compare

Rewrite = Callable[[str], str | None]
SHOWN_EXAMPLES = 3
LEAST_GROUPED, MOST_DENOMINATOR = 1000, 64


def _of_number(write: Callable[[Decimal], str | None]) -> Rewrite:
    return lambda text: None if (number := number_in(text)) is None else write(number)


def _whole(write: Callable[[int], str | None]) -> Rewrite:
    return _of_number(lambda n: write(int(n)) if n == n.to_integral_value() else None)


def _fraction(pattern: str) -> Rewrite:
    """Write a number that is not whole as a fraction."""

    def write(number: Decimal) -> str | None:
        value = Fraction(number)
        if value.denominator == 1 or value.denominator > MOST_DENOMINATOR:
            return None
        sign = "-" if value < 0 else ""
        return sign + pattern.format(abs(value.numerator), value.denominator)

    return _of_number(write)


def _as_text(write: Rewrite) -> Rewrite:
    """Return the answer unchanged unless it is a number."""
    return lambda text: None if number_in(text) is not None or not text else write(text)


def _printed(text: str) -> str | None:
    """Print the math reader's parse of an answer, if it reads back as the same."""
    try:
        printed = str(compare("0", text).expected or "")
        again = printed not in ("", text) and math_equal(printed, text)
    except UnreadableGroundTruth:
        return None
    return printed if again else None


REWRITINGS: Mapping[str, Rewrite] = {
    "thousands grouped": _whole(lambda n: f"{n:,}" if abs(n) >= LEAST_GROUPED else None),
    "thousands with thin spaces": _whole(
        lambda n: f"{n:,}".replace(",", "\\,") if abs(n) >= LEAST_GROUPED else None
    ),
    "decimal zero": _whole(lambda n: f"{n}.0"),
    "two decimal zeros": _whole(lambda n: f"{n}.00"),
    "plus sign": _of_number(lambda n: f"+{n:f}" if n > 0 else None),
    "typographic minus": _of_number(lambda n: f"\u2212{-n:f}" if n < 0 else None),
    "math mode": lambda text: f"${text}$" if text and "$" not in text else None,
    "full-width digits": _whole(
        lambda n: str(n).translate({48 + i: 0xFF10 + i for i in range(10)}) if n >= 0 else None
    ),
    "fraction": _fraction("{}/{}"),
    "LaTeX fraction": _fraction("\\frac{{{}}}{{{}}}"),
    "scientific": _of_number(lambda n: f"{n:e}" if abs(n) >= LEAST_GROUPED else None),
    "printed from its reading": _printed,
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac") if "\\frac" in text else None,
    "left and right": lambda text: (
        text.replace("(", "\\left(").replace(")", "\\right)")
        if "(" in text and "\\left" not in text
        else None
    ),
    "no spaces": lambda text: (
        text.replace(" ", "") if "," in text and " " in text and "\\" not in text else None
    ),
    "spaces around": lambda text: f" {text} " if text else None,
    "in text command": _as_text(lambda text: None if "\\" in text else f"\\text{{{text}}}"),
    "full stop": lambda text: f"{text}." if text and text[-1].isalnum() else None,
    "upper case": _as_text(
        lambda text: text.upper() if text.isalpha() and not text.isupper() else None
    ),
    "lower case": _as_text(
        lambda text: text.lower() if text.isalpha() and not text.islower() else None
    ),
    "letter in brackets": lambda text: f"({text})" if len(text) == 1 and text.isalpha() else None,
}


async def try_rewritings(
    scoring: AuditedProfile, rows: Sequence[AuditRow], right: RightAnswers
) -> tuple[list[RewritingOutcome], list[ScoredBatch]]:
    """Score every rewriting in the profile's own form, and the answer in every phrasing."""
    form = FORMS[right.form]
    plans: list[tuple[str, str, list[tuple[AuditRow, str]]]] = [
        (
            name,
            "spelling",
            [
                (row, stated(form, text))
                for row in rows
                if (text := rewrite(row.answer)) is not None and text != row.answer
            ],
        )
        for name, rewrite in REWRITINGS.items()
    ]
    plans += [
        (name, "wrapping", [(row, stated(wrapping, row.answer)) for row in rows if row.answer])
        for name, wrapping in WRAPPINGS.items()
    ]
    outcomes: list[RewritingOutcome] = []
    all_scored: list[ScoredBatch] = []
    for name, kind, tried in plans:
        if not tried:
            continue
        scored = await score_all(scoring, [row.sample(name, text) for row, text in tried])
        all_scored.append(scored)
        rewarded = [
            (row, text, result)
            for (row, text), result in zip(tried, scored.results, strict=True)
            if result.reward is not None and row.number in right.worth
        ]
        refused = [
            each for each in rewarded if (each[2].reward or 0.0) < right.worth[each[0].number]
        ]
        outcomes.append(
            RewritingOutcome(
                name,
                kind,
                share(len(refused), len(rewarded)),
                len(tried) - len(rewarded),
                [shown(*each) for each in refused[:SHOWN_EXAMPLES]],
            )
        )
    return sorted(outcomes, key=lambda each: (each.kind, -each.refused.share)), all_scored
