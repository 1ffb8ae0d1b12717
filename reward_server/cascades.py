"""Scorers that run only on some verdicts of others, and may replace them: `when`, `replaces`.

Checks the entries of a profile when it is loaded, and decides which samples such a scorer is asked
for and whose verdict stands. `scoring/cascades.py` runs the scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import CascadeInfo, is_list, is_object
from touchstone_rewards.reward_server.scorers.base import Score, Scorer

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.profile_config import ScorerEntry

# A verdict of another scorer: it cannot tell; it cannot tell because of the ground truth, which no
# response can cause; or a score.
ConditionWord = Literal["undecided", "unread_truth"]
Condition = ConditionWord | float
WORDS = get_args(ConditionWord)
Conditions = Mapping[str, tuple[Condition, ...]]
# The entry of a column for a sample that its scorer did not run for.
NOT_ASKED = Score()
ABSENT = Score(0.0)
EXPECTED = "{math: undecided}, {math: unread_truth}, {math: 0} or a list of these"


def conditions(given: object) -> dict[str, tuple[Condition, ...]]:
    """Return a profile's `when`, checked: scorer key to the verdicts on which the scorer runs.

    Raises:
        ValueError: `given` has another form.
    """
    if not is_object(given) or not given:
        raise ValueError(f"got {given!r:.80}; expected {EXPECTED}")
    found: dict[str, tuple[Condition, ...]] = {}
    for key, wanted in given.items():
        each = wanted if is_list(wanted) else [wanted]
        wrong = [one for one in each if not _is_condition(one)]
        if wrong or not each:
            raise ValueError(f"{key}: got {(wrong or [wanted])[0]!r:.80}; expected {EXPECTED}")
        found[str(key)] = tuple(one if one in WORDS else float(one) for one in each)
    return found


def _is_condition(value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return isfinite(value)
    return isinstance(value, str) and value in WORDS


class Standing(NamedTuple):
    """For each sample, the score that stands and the key of the scorer that gave it, or None if
    no scorer could tell."""

    scores: list[Score]
    by: list[str | None]


class Counted(NamedTuple):
    """The inputs of a reward, one column per scorer: `values` are weighted and summed, `gates` are
    compared with `gate_below`, `columns` hold the errors, `decided_by` names the scorer whose
    verdict stands for each replaceable one.
    """

    values: Mapping[str, Sequence[float | None]]
    gates: Mapping[str, Sequence[float | None]]
    columns: Mapping[str, Sequence[Score]]
    decided_by: Mapping[str, list[str | None]]


class Cascades:
    """The cascades of one profile. `when`: the conditions of each scorer that has any.
    `replaces`: key of a scorer to the key of the one it replaces. `order`: all keys, each after
    those that it waits for.
    """

    def __init__(self, entries: Mapping[str, ScorerEntry], scorers: Mapping[str, Scorer]) -> None:
        self.when: dict[str, Conditions] = {k: e.when for k, e in entries.items() if e.when}
        self.replaces = {k: e.replaces for k, e in entries.items() if e.replaces is not None}
        for key in self.when:
            self._check(key, scorers)
        self._least = {key: scorer.range[0] or 0.0 for key, scorer in scorers.items()}
        self.order = _in_order(scorers, self._waits_for)
        _check_groups(self.when, scorers)
        # The scorers that may replace each key; later ones take precedence.
        self.replacing: dict[str, list[str]] = {}
        for key in self.order:
            if key in self.replaces:
                self.replacing.setdefault(self.replaces[key], []).append(key)

    @property
    def infos(self) -> dict[str, CascadeInfo]:
        """Return the cascades as `GET /profiles` shows them."""
        return {
            key: CascadeInfo({k: list(v) for k, v in when.items()}, self.replaces.get(key))
            for key, when in self.when.items()
        }

    def reached_from(self, keys: Sequence[str]) -> list[str]:
        """Return `keys` and the keys of all scorers that their verdicts depend on."""
        found = dict.fromkeys(keys)
        left = list(keys)
        while left:
            key = left.pop()
            new = [*self.replacing.get(key, ()), *self.when.get(key, ())]
            left += [each for each in new if each not in found]
            found |= dict.fromkeys(new)
        return list(found)

    def asked(self, key: str, columns: Mapping[str, Sequence[Score]]) -> list[Score | None]:
        """Return for each sample None if the scorer `key` is to run, else its entry in the column.
        `columns`: those of the scorers that it waits for."""
        when = self.when[key]
        rows = zip(*(columns[each] for each in when), strict=True)
        wanted = list(when.values())
        return [_not_asked(row, wanted) for row in rows]

    def because(self, key: str, columns: Mapping[str, Sequence[Score]], at: int) -> dict[str, Any]:
        """Return for an explanation whether the scorer ran for the sample at `at`, and why."""
        said = {each: _said(columns[each][at]) for each in self.when[key]}
        return {"asked": columns[key][at] is not NOT_ASKED, "because": said}

    def standing(self, key: str, columns: Mapping[str, Sequence[Score]]) -> Standing:
        """Return for each sample the verdict that stands for the scorer `key`.

        The verdict of a replacing scorer stands if it could tell. If it could not, the first
        verdict stands only if it pays nothing (the least score, or null): a higher score was sent
        for a second look, and a response that confuses the second scorer must not keep it. If the
        second scorer failed, there is no verdict.
        """
        scores = list(columns[key])
        by = [key if score.value is not None and not score.undecided else None for score in scores]
        for other in self.replacing.get(key, ()):
            found = self.standing(other, columns)
            for at, score in enumerate(found.scores):
                if score is NOT_ASKED:
                    continue
                pays = (scores[at].value or 0.0) > self._least[key]
                if pays or not score.undecided:
                    scores[at], by[at] = score, found.by[at]
        return Standing(scores, by)

    def counted(self, keys: Sequence[str], columns: Mapping[str, Sequence[Score]]) -> Counted:
        """Return the inputs of the reward for the scorers `keys`.

        A scorer that did not run for a sample adds nothing to its reward, and its gate is open.
        """
        found = self.replaced(columns)
        standing = {key: found[key].scores if key in found else columns[key] for key in keys}
        partly = [key for key in keys if key in self.when]
        present = standing | {
            key: [ABSENT if score is NOT_ASKED else score for score in standing[key]]
            for key in partly
        }
        values = {key: [score.value for score in column] for key, column in present.items()}
        gates = values | {
            key: [inf if score is ABSENT else score.value for score in present[key]]
            for key in partly
        }
        return Counted(values, gates, present, {key: each.by for key, each in found.items()})

    def replaced(self, columns: Mapping[str, Sequence[Score]]) -> dict[str, Standing]:
        """Return the verdicts that stand, for each scorer that another may replace."""
        return {key: self.standing(key, columns) for key in self.replacing}

    def _waits_for(self, key: str) -> list[str]:
        own = [self.replaces[key]] if key in self.replaces else []
        return [*self.when.get(key, ()), *own]

    def _check(self, key: str, scorers: Mapping[str, Scorer]) -> None:
        """Check that a scorer waits for scorers of the profile and for verdicts that these can
        give, and that its range fits the scorer that it replaces.

        Raises:
            ConfigError: one of these does not hold.
        """
        for other, wanted in self.when[key].items():
            if other not in scorers:
                raise ConfigError(
                    f"scorers.{key}.when names {other!r}, which is not one of the scorers: "
                    f"{', '.join(scorers)}"
                )
            numbers = [one for one in wanted if isinstance(one, float)]
            if outside := [one for one in numbers if not _within((one, one), scorers[other].range)]:
                raise ConfigError(
                    f"scorers.{key}.when: {other} never scores {outside[0]:g}: its range is "
                    f"{list(scorers[other].range)}"
                )
        target = self.replaces.get(key)
        if target is None:
            return
        if target not in scorers:
            raise ConfigError(
                f"scorers.{key}.replaces names {target!r}, which is not one of the scorers: "
                f"{', '.join(scorers)}"
            )
        if not _within(scorers[key].range, scorers[target].range):
            raise ConfigError(
                f"scorers.{key} has the range {list(scorers[key].range)} and cannot replace "
                f"{target}: it must lie within {list(scorers[target].range)}"
            )


def cascades_of(
    entries: Mapping[str, ScorerEntry], scorers: Mapping[str, Scorer], counting: Sequence[str]
) -> Cascades | None:
    """Return the cascades of a profile; None if every scorer runs for every sample.

    `counting`: the scorers that the reward depends on.

    Raises:
        ConfigError: a scorer waits for a verdict that cannot come or cannot replace another; or
            all counting scorers run for some samples only, so the others would have no reward.
    """
    if not any(entry.when for entry in entries.values()):
        return None
    cascades = Cascades(entries, scorers)
    if counting and all(entries[key].when for key in counting):
        key = counting[0]
        raise ConfigError(
            f"scorers.{key} runs only on some verdicts of {', '.join(cascades.when[key])}, and no "
            "other scorer counts, so other samples would have no reward; set replaces, or give "
            "another scorer a weight"
        )
    return cascades


def _check_groups(when: Mapping[str, Conditions], scorers: Mapping[str, Scorer]) -> None:
    """Check that no scorer of whole groups is part of a cascade.

    Raises:
        ConfigError: one is.
    """
    for key, scorer in scorers.items():
        if scorer.runs_in != "group":
            continue
        if key in when or any(key in each for each in when.values()):
            raise ConfigError(
                f"scorers.{key} sees whole groups, and can neither have `when` nor appear in one"
            )
        if partly := [each for each in scorer.of if each in when]:
            raise ConfigError(
                f"scorers.{key} uses {partly[0]!r}, which has `when` and scores only some samples"
            )


def _in_order(keys: Mapping[str, object], waits_for: Any) -> list[str]:
    """Return the keys, each after those that it waits for.

    Raises:
        ConfigError: there is a cycle.
    """
    found: dict[str, None] = {}

    def visit(key: str, path: Sequence[str]) -> None:
        if key in path:
            circle = " -> ".join([*path[path.index(key) :], key])
            raise ConfigError(f"scorers.{key}: `when` and `replaces` form a cycle: {circle}")
        if key not in found:
            for other in waits_for(key):
                visit(other, [*path, key])
            found[key] = None

    for key in keys:
        visit(key, [])
    return list(found)


def _within(inner: tuple[float | None, float | None], outer: tuple[Any, Any]) -> bool:
    least, most = (-inf if inner[0] is None else inner[0], inf if inner[1] is None else inner[1])
    return (outer[0] is None or outer[0] <= least) and (outer[1] is None or most <= outer[1])


def _not_asked(row: Sequence[Score], wanted: Sequence[tuple[Condition, ...]]) -> Score | None:
    """Return None if a scorer with these conditions is to run. If a scorer that it waits for
    failed, the decision is unknown: return that error."""
    failed: Score | None = None
    for score, each in zip(row, wanted, strict=True):
        if any(_holds(one, score) for one in each):
            continue
        if score.error is None:
            return NOT_ASKED
        failed = failed or Score(error=score.error, timed_out=score.timed_out)
    return failed


def _holds(condition: Condition, score: Score) -> bool:
    if isinstance(condition, float):
        return score.value == condition
    unread = score.error is not None and score.error.code == "bad_ground_truth"
    if condition == "unread_truth":
        return unread or score.undecided == "truth"
    return unread or score.undecided is not None


def _said(score: Score) -> object:
    """Return a scorer's verdict on a sample as a word or a number."""
    if score.undecided is not None:
        return "unread_truth" if score.undecided == "truth" else "undecided"
    return score.error.code if score.error is not None else score.value
