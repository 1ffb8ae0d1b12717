"""Find faults of the rows themselves, which do not depend on the policy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from touchstone_rewards.reward_server.audit.forms_tried import RightAnswers
from touchstone_rewards.reward_server.audit.report import DataFinding
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.shares import cut, share
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import SampleResult
from touchstone_rewards.reward_server.scorers.math import MathScorer
from touchstone_rewards.reward_server.scorers.math.lint import KINDS, lint_truth

SHOWN_ROWS = 5


def data_findings(
    rows: Sequence[AuditRow], right: RightAnswers, profile: Profile | None
) -> list[DataFinding]:
    """Return the findings about the rows by kind, without empty kinds."""
    found = [
        _finding("unscored", said, of, len(rows))
        for said, of in _unscored(right.scored.results, rows).items()
    ]
    found.append(
        _finding(
            "right_answer_earns_nothing",
            "its right answer earns no more than an empty response in any form tried",
            right.unearned,
            len(rows),
        )
    )
    found += _lint(rows, profile)
    by_prompt: dict[str, list[AuditRow]] = defaultdict(list)
    for row in rows:
        if row.question:
            by_prompt[row.question].append(row)
    again = [row for of in by_prompt.values() for row in of[1:]]
    torn = [row for of in by_prompt.values() if len({r.answer for r in of}) > 1 for row in of]
    found.append(_finding("duplicate", "another row has the same prompt", again, len(rows)))
    found.append(
        _finding("contradictory", "same prompt as another row, other ground truth", torn, len(rows))
    )
    found += _constant(rows)
    return [each for each in found if each.share.count]


def _finding(kind: str, said: str, of: Sequence[AuditRow], total: int) -> DataFinding:
    examples = [
        f"row {row.number}: {cut(row.question)} → {cut(str(row.truth))}" for row in of[:SHOWN_ROWS]
    ]
    return DataFinding(kind, said, share(len(of), total), examples)


def _unscored(
    results: Sequence[SampleResult], rows: Sequence[AuditRow]
) -> dict[str, list[AuditRow]]:
    """Return the rows whose right answers were never scored, with the reason."""
    scored = {_row_of(each) for each in results if each.reward is not None}
    reasons: dict[str, dict[int, AuditRow]] = defaultdict(dict)
    numbered = {row.number: row for row in rows}
    for result in results:
        number = _row_of(result)
        if result.error is not None and number not in scored:
            reasons[f"not scored: {result.error.code}"][number] = numbered[number]
    return {said: list(of.values()) for said, of in reasons.items()}


def _row_of(result: SampleResult) -> int:
    return int(result.id.partition("/")[0])


def _lint(rows: Sequence[AuditRow], profile: Profile | None) -> Iterator[DataFinding]:
    """Return the ground truths that the math scorer cannot read or may misread."""
    scorers = (
        [each for one in profile.reached() for each in one.scorers.values()] if profile else []
    )
    math = next((each for each in scorers if isinstance(each, MathScorer)), None)
    if math is None:
        return
    kinds: dict[str, list[AuditRow]] = defaultdict(list)
    for row in rows:
        for kind in {finding.kind for finding in lint_truth(row.truth, math.policy)}:
            kinds[kind].append(row)
    for kind, of in kinds.items():
        yield _finding(kind, KINDS[kind], of, len(rows))


def _constant(rows: Sequence[AuditRow]) -> Iterator[DataFinding]:
    """Return how many rows are won by always giving the most frequent answer."""
    counts = Counter(row.answer for row in rows if row.answer)
    for answer, count in counts.most_common(1):
        if count > 1:
            of = [row for row in rows if row.answer == answer]
            yield _finding(
                "constant_wins", f"always answering {cut(answer)!r} is right", of, len(rows)
            )
