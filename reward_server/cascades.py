"""Scorers that run only where another one said so, and may stand in for it: `when` and `replaces`.

In: the entries of a profile and its scorers, checked when it is loaded. Out: which samples such a
scorer is asked for, and whose verdict stands. It runs nothing; `scoring/cascades.py` does.
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

# What another scorer may have said: that it cannot tell; that it cannot for what the ground truth
# is, which no response can bring about; or a score.
ConditionWord = Literal["undecided", "unread_truth"]
Condition = ConditionWord | float
WORDS = get_args(ConditionWord)
Conditions = Mapping[str, tuple[Condition, ...]]
# In the column of a scorer that runs for some samples only: it was not asked for this one.
NOT_ASKED = Score()
ABSENT = Score(0.0)
EXPECTED = "{math: undecided}, {math: unread_truth}, {math: 0} or a list of these"


def conditions(given: object) -> dict[str, tuple[Condition, ...]]:
    """Return what a profile's `when` says, checked: by a scorer's key what it must have said.

    Raises:
        ValueError: it is of another form.
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
    """For each sample the score that stands, and the key of the scorer that gave it: null where
    nobody could tell."""

    scores: list[Score]
    by: list[str | None]


class Counted(NamedTuple):
    """What a reward is made of, a column for each scorer: `gates` are the values that gates look
    at, `columns` have the errors, `decided_by` whose verdict stands for one that may be replaced.
    """

    values: Mapping[str, Sequence[float | None]]
    gates: Mapping[str, Sequence[float | None]]
    columns: Mapping[str, Sequence[Score]]
    decided_by: Mapping[str, list[str | None]]


class Cascades:
    """The cascades of one profile. `when`: the conditions of each scorer that has some.
    `replaces`: the scorer that it stands in for, by its own key. `order`: all keys, each behind
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
        # The scorers that stand in for each key, the later ones with the last word.
        self.replacing: dict[str, list[str]] = {}
        for key in self.order:
            if key in self.replaces:
                self.replacing.setdefault(self.replaces[key], []).append(key)

    @property
    def infos(self) -> dict[str, CascadeInfo]:
        """What `GET /profiles` says of them."""
        return {
            key: CascadeInfo({k: list(v) for k, v in when.items()}, self.replaces.get(key))
            for key, when in self.when.items()
        }

    def reached_from(self, keys: Sequence[str]) -> list[str]:
        """Return these keys and those of all scorers on which what they come to depends."""
        found = dict.fromkeys(keys)
        left = list(keys)
        while left:
            key = left.pop()
            new = [*self.replacing.get(key, ()), *self.when.get(key, ())]
            left += [each for each in new if each not in found]
            found |= dict.fromkeys(new)
        return list(found)

    def asked(self, key: str, columns: Mapping[str, Sequence[Score]]) -> list[Score | None]:
        """Return for each sample what the column of `key` has where its scorer is not asked, and
        None where it is to be asked. `columns`: of those that it waits for."""
        when = self.when[key]
        rows = zip(*(columns[each] for each in when), strict=True)
        wanted = list(when.values())
        return [_not_asked(row, wanted) for row in rows]

    def because(self, key: str, columns: Mapping[str, Sequence[Score]], at: int) -> dict[str, Any]:
        """Return for an explanation whether the scorer was asked for a sample, and why."""
        said = {each: _said(columns[each][at]) for each in self.when[key]}
        return {"asked": columns[key][at] is not NOT_ASKED, "because": said}

    def standing(self, key: str, columns: Mapping[str, Sequence[Score]]) -> Standing:
        """Return whose verdict stands for a scorer, sample by sample.

        That of one which replaces it and could tell. If that one cannot tell, the first verdict
        stands where it pays nothing: the least score, or null. What pays more was sent to be looked
        at again, and who confuses the second look does not keep it. If the second one failed, there
        is no verdict: a failure is none.
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
        """Return what the reward is made of, for the scorers with these keys.

        One that was not asked for a sample adds nothing there, and its gate is open.
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
        """Return whose verdicts stand for each scorer that another may replace."""
        return {key: self.standing(key, columns) for key in self.replacing}

    def _waits_for(self, key: str) -> list[str]:
        own = [self.replaces[key]] if key in self.replaces else []
        return [*self.when.get(key, ()), *own]

    def _check(self, key: str, scorers: Mapping[str, Scorer]) -> None:
        """See that a scorer waits for scorers of the profile, for what these can say, and is fit to
        stand in for the one that it replaces.

        Raises:
            ConfigError: it does not, or is not.
        """
        for other, wanted in self.when[key].items():
            if other not in scorers:
                raise ConfigError(
                    f"scorers.{key}.when names {other!r}, which is none of the scorers: "
                    f"{', '.join(scorers)}"
                )
            numbers = [one for one in wanted if isinstance(one, float)]
            if outside := [one for one in numbers if not _within((one, one), scorers[other].range)]:
                raise ConfigError(
                    f"scorers.{key}.when: {other} never says {outside[0]:g}: its scores lie in "
                    f"{list(scorers[other].range)}"
                )
        target = self.replaces.get(key)
        if target is None:
            return
        if target not in scorers:
            raise ConfigError(
                f"scorers.{key}.replaces names {target!r}, which is none of the scorers: "
                f"{', '.join(scorers)}"
            )
        if not _within(scorers[key].range, scorers[target].range):
            raise ConfigError(
                f"scorers.{key} says {list(scorers[key].range)} and cannot replace {target}, which "
                f"says {list(scorers[target].range)}: its scores must lie within"
            )


def cascades_of(
    entries: Mapping[str, ScorerEntry], scorers: Mapping[str, Scorer], counting: Sequence[str]
) -> Cascades | None:
    """Return the cascades of a profile; None where every scorer runs for every sample.

    `counting`: the scorers that the reward depends on.

    Raises:
        ConfigError: a scorer waits for what there is not, or is not fit to stand in for another; or
            all that counts runs for some samples only, and the others had no reward.
    """
    if not any(entry.when for entry in entries.values()):
        return None
    cascades = Cascades(entries, scorers)
    if counting and all(entries[key].when for key in counting):
        key = counting[0]
        raise ConfigError(
            f"scorers.{key} counts where {', '.join(cascades.when[key])} says so and nothing else "
            "counts: other samples would have no reward; say what it replaces, or give another "
            "scorer a weight"
        )
    return cascades


def _check_groups(when: Mapping[str, Conditions], scorers: Mapping[str, Scorer]) -> None:
    """See that no scorer of whole groups is part of a cascade.

    Raises:
        ConfigError: one is.
    """
    for key, scorer in scorers.items():
        if scorer.runs_in != "group":
            continue
        if key in when or any(key in each for each in when.values()):
            raise ConfigError(
                f"scorers.{key} sees whole groups, and can neither have `when` nor stand in one"
            )
        if partly := [each for each in scorer.of if each in when]:
            raise ConfigError(
                f"scorers.{key} is of {partly[0]!r}, which has `when` and no score of every sample"
            )


def _in_order(keys: Mapping[str, object], waits_for: Any) -> list[str]:
    """The keys, each behind those that it waits for.

    Raises:
        ConfigError: some wait for each other.
    """
    found: dict[str, None] = {}

    def visit(key: str, path: Sequence[str]) -> None:
        if key in path:
            circle = " -> ".join([*path[path.index(key) :], key])
            raise ConfigError(f"scorers.{key}: `when` and `replaces` in a circle: {circle}")
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
    """None where a scorer with these conditions is to be asked; where one of those that it waits
    for failed, nobody knows whether it is, and that is its error."""
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
    """What a scorer said of a sample, in a word or a number."""
    if score.undecided is not None:
        return "unread_truth" if score.undecided == "truth" else "undecided"
    return score.error.code if score.error is not None else score.value
