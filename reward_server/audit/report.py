"""What an audit found, as data: the types of `audit.json`. Shares lie between 0 and 1."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class AuditShare(Struct, frozen=True):
    """So many of so many, with the 95% interval of the share."""

    count: int
    of: int
    share: float
    low: float
    high: float


class Shown(Struct):
    """One scored text, cut to what can be read."""

    row: int
    ground_truth: str
    response: str
    reward: float | None
    scores: dict[str, float | None]
    explanation: str


class FormOutcome(Struct):
    """How a form fares with right answers. `refused`: of the rows that have a reward, those with
    less than the greatest that any form earned."""

    name: str
    mean_reward: float | None
    mean_scores: dict[str, float | None]
    refused: AuditShare
    unscored: int


class StrategyOutcome(Struct):
    """How a strategy fares. `accepted`: of the rows, those where it earns at least what the right
    answer does."""

    name: str
    family: str
    knows: str
    tried: int
    mean_reward: float | None
    accepted: AuditShare
    unscored: int
    mean_scores: dict[str, float | None]
    ms_a_sample: float
    examples: list[Shown] = []


class RewritingOutcome(Struct):
    """How equal answers in another spelling, or the answer in another wrapping, fare. `refused`:
    those that earn less than the answer as the data set spells it."""

    name: str
    kind: str
    refused: AuditShare
    unscored: int
    examples: list[Shown] = []


class DataFinding(Struct):
    """A kind of finding about the rows, with some of them."""

    kind: str
    said: str
    share: AuditShare
    examples: list[str] = []


class Combination(Struct):
    """What the whole reward makes of form and substance. `warnings`: one sentence each."""

    right_in_form: float | None
    right_without_form: float | None
    form_only: float | None
    other_answer_in_form: float | None
    cheapest: str | None
    cheapest_gain: float | None
    groups: AuditShare | None
    warnings: list[str] = []


class ErrorRate(Struct):
    """False positives and negatives among labelled samples, all of them or those of one kind."""

    scorer: str
    among: str
    false_positive: AuditShare
    false_negative: AuditShare
    unscored: int


class Agreement(Struct):
    """How often two profiles say the same of the same samples."""

    profile: str
    agree: AuditShare
    to_label: int


class AuditCost(Struct):
    """What scoring took. `codes`: how many samples were not scored, by error code; `worst_ms`: the
    longest that one sample of the slowest strategy took alone, and `worst_row` whose it was."""

    samples: int
    ms_a_sample: float
    slowest_strategy: str
    slowest_ms_a_sample: float
    codes: dict[str, int]
    worst_ms: float = 0.0
    worst_row: int = 0


class AuditReport(Struct):
    """One audit. `failed`: what was worse than the thresholds allow, one sentence each."""

    profile: str
    fingerprint: str
    input: str
    rows: int
    rows_in_file: int
    form: str
    forms: list[FormOutcome] = field(default_factory=list[FormOutcome])
    strategies: list[StrategyOutcome] = field(default_factory=list[StrategyOutcome])
    rewritings: list[RewritingOutcome] = field(default_factory=list[RewritingOutcome])
    data: list[DataFinding] = field(default_factory=list[DataFinding])
    combination: Combination | None = None
    error_rates: list[ErrorRate] = field(default_factory=list[ErrorRate])
    agreement: Agreement | None = None
    cost: AuditCost | None = None
    thresholds: dict[str, float] = field(default_factory=dict[str, float])
    failed: list[str] = field(default_factory=list[str])
    versions: dict[str, Any] = field(default_factory=dict[str, Any])
