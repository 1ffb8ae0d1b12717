"""Types of `audit.json`, the report of an audit. Shares lie between 0 and 1."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class AuditShare(Struct, frozen=True):
    """`count` out of `of`, with the share and its 95% interval."""

    count: int
    of: int
    share: float
    low: float
    high: float


class Shown(Struct):
    """One scored text, shortened for reading."""

    row: int
    ground_truth: str
    response: str
    reward: float | None
    scores: dict[str, float | None]
    explanation: str


class FormOutcome(Struct):
    """Result of one form for right answers. `refused`: share of the scored rows whose reward is
    below their best in any form."""

    name: str
    mean_reward: float | None
    mean_scores: dict[str, float | None]
    refused: AuditShare
    unscored: int


class StrategyOutcome(Struct):
    """Result of one strategy. `accepted`: share of rows in which it earns at least
    as much as the right answer."""

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
    """Result of one rewriting, which spells or phrases a right answer differently. `refused`: share
    that earns less than the data set's own spelling."""

    name: str
    kind: str
    refused: AuditShare
    unscored: int
    examples: list[Shown] = []


class DataFinding(Struct):
    """One kind of finding about the rows, with examples."""

    kind: str
    said: str
    share: AuditShare
    examples: list[str] = []


class Combination(Struct):
    """Rewards of form and of substance. `warnings`: one sentence each."""

    right_in_form: float | None
    right_without_form: float | None
    form_only: float | None
    other_answer_in_form: float | None
    cheapest: str | None
    cheapest_gain: float | None
    groups: AuditShare | None
    warnings: list[str] = []


class ErrorRate(Struct):
    """False positives and negatives among all labelled samples or one class of them."""

    scorer: str
    among: str
    false_positive: AuditShare
    false_negative: AuditShare
    unscored: int


class Agreement(Struct):
    """How often two profiles give the same verdict on the same samples."""

    profile: str
    agree: AuditShare
    to_label: int


class AuditCost(Struct):
    """Cost of scoring.

    `codes`: number of unscored samples by error code. `worst_ms`: longest time for a single sample
    of the slowest strategy. `worst_row`: the row of that sample.
    """

    samples: int
    ms_a_sample: float
    slowest_strategy: str
    slowest_ms_a_sample: float
    codes: dict[str, int]
    worst_ms: float = 0.0
    worst_row: int = 0


class AuditReport(Struct):
    """The report of one audit. `failed`: one sentence per threshold exceeded."""

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
