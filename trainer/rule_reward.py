"""Rewards by rules without a server: this process runs the server's own scoring engine.

Profiles, scorers, worker processes and deadlines are the server's, so that both agree on every
sample. A response gets one reward, None where there is none. An id without a ground truth is an
error, never a wrong answer.

This is the only module of the trainer that imports `reward_server`; it needs the `server` extra.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from datasets import Dataset
from msgspec import structs

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.math.equal import (
    UnreadableGroundTruth,
    ground_truth_texts,
)
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.trainer.data.rows import ensure_sample_ids, load_rows
from touchstone_rewards.trainer.errors import InputError

ANSWER_COLUMNS = ("ground_truth", "answer", "solution", "target", "completion")
ROWS_A_REQUEST = 1024
SCORING_TIMEOUT_S = 600.0
LONGEST_ANSWER = 200  # characters

logger = logging.getLogger(__name__)

T = TypeVar("T")


class UnknownSampleId(KeyError):
    """The ground truths have no entry for the id of a response."""


class RuleResult(SampleResult, kw_only=True):
    """A result in the client's form: with the profile's fingerprint, and without alarms."""

    fingerprint: str | None = None
    alarms: Sequence[Any] = ()


class RuleBasedRewardModel:
    """Scores responses against a file of ground truths.

    A profile's score from 0 to 1 becomes a reward from `reward_incorrect` to `reward_correct`. With
    `math_equal_normalize` off, an answer is right only if it equals the ground truth letter by
    letter; the ground truth of a worked solution (GSM8K's, or one with a box) is the answer at its
    end.

    Example:
        rules = RuleBasedRewardModel("rows.jsonl")  # with columns id and answer
        rules.get_rewards(["row-0"], ["It is \\boxed{46}."])  # [1.0]

    Raises:
        InputError: there is no such profile or file, or `math_equal_normalize` is off and the
            profile has no scorer `math`.
    """

    def __init__(
        self,
        ground_truth_dataset: str | Path,
        *,
        profile: str = "math",
        reward_correct: float = 1.0,
        reward_incorrect: float = -1.0,
        math_equal_normalize: bool = True,
    ) -> None:
        try:
            profiles, self._settings = load_profiles(), load_settings()
        except ConfigError as error:
            raise InputError(f"rewards by rule need valid server settings: {error}") from error
        if profile not in profiles:
            raise InputError(f"no profile {profile!r}; built-in profiles are {', '.join(profiles)}")
        self._profiles = profiles
        self.profile = profile
        self.fingerprint = profiles[profile].fingerprint
        self.reward_correct = reward_correct
        self.reward_incorrect = reward_incorrect
        self.math_equal_normalize = math_equal_normalize
        specs = profiles[profile].specs
        self._math = next((key for key, spec in specs.items() if spec.name == "math"), None)
        if self._math is None and not math_equal_normalize:
            raise InputError(
                f"math_equal_normalize is off, but profile {profile!r} has no scorer math, whose "
                "answer could be compared with the ground truth"
            )
        self.truths = read_ground_truths(ground_truth_dataset)
        if not math_equal_normalize:
            _warn_of_long_answers(self.truths)
        self._source = ground_truth_dataset
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine | None = None

    def get_rewards(self, ids: Sequence[str], responses: Sequence[str]) -> list[float | None]:
        """Return one reward per response, in order; None for an unreadable ground truth or
        unfinished scoring.

        Raises:
            UnknownSampleId: an id is not in the ground truths; nothing was scored.
        """
        samples = [
            Sample(id=str(name), response=response, ground_truth=self.ground_truth(name))
            for name, response in zip(ids, responses, strict=True)
        ]
        return [result.reward for result in self.score(samples)]

    def ground_truth(self, name: str) -> Any:
        """Return the ground truth of a row.

        Raises:
            UnknownSampleId: there is none for this id.
        """
        try:
            return self.truths[str(name)]
        except KeyError:
            raise UnknownSampleId(f"no ground truth for id {name!r} in {self._source}") from None

    def score(
        self, samples: list[Sample], profile: str | None = None, **options: object
    ) -> list[RuleResult]:
        """Score samples as a client's `score` does, without a server; `options` are ignored."""
        explain = not self.math_equal_normalize
        results: list[RuleResult] = []
        for start in range(0, len(samples), ROWS_A_REQUEST):
            part = samples[start : start + ROWS_A_REQUEST]
            request = ScoreRequest(part, profile=profile or self.profile, explain=explain)
            answer = self._run(self._started_engine().score(request))
            for sample, result in zip(part, answer.results, strict=True):
                results.append(self._as_reward(sample, result))
        return results

    def _as_reward(self, sample: Sample, result: SampleResult) -> RuleResult:
        reward = result.reward
        if reward is not None:
            if not (self.math_equal_normalize or self._same_letters(sample, result)):
                reward = 0.0
            reward = self.reward_incorrect + reward * (self.reward_correct - self.reward_incorrect)
        fields = {**structs.asdict(result), "reward": reward, "explanation": None}
        return RuleResult(**fields, fingerprint=self.fingerprint)

    def _same_letters(self, sample: Sample, result: SampleResult) -> bool:
        assert self._math is not None
        found = ((result.explanation or {}).get(self._math) or {}).get("answer")
        truths = {text.strip() for text in ground_truth_texts(cast(Any, sample.ground_truth))}
        return found is not None and found.strip() in truths

    def close(self) -> None:
        """Stop the worker processes; the next call of `score` starts new ones."""
        if self._engine is not None and self._loop is not None:
            self._run(self._engine.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._engine = self._loop = None

    def _started_engine(self) -> Engine:
        """Return the engine with its workers running; start it on first use.

        A trainer that stops while checking its arguments thus starts no process.
        """
        if self._engine is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="rules").start()
            self._engine = create_engine(self._profiles, self._settings, Metrics())
            self._run(self._engine.start())
        return self._engine

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SCORING_TIMEOUT_S)


def read_ground_truths(name: str | Path) -> dict[str, object]:
    """Return the ground truth of each id, from rows with an id and an answer column.

    Raises:
        InputError: there is no such file or column.
    """
    rows: Dataset = load_rows(str(name))
    column = next((each for each in ANSWER_COLUMNS if each in rows.column_names), None)
    if column is None:
        raise InputError(
            f"{name} has no ground truths: no column {', '.join(ANSWER_COLUMNS)} among "
            f"{rows.column_names}"
        )
    rows = ensure_sample_ids(rows)
    return dict(zip(rows["id"], rows[column], strict=True))


def _warn_of_long_answers(truths: dict[str, Any]) -> None:
    """Warn of ground truths that are too long for any response to equal them."""
    long = [name for name, truth in truths.items() if _is_long(truth)]
    if long:
        logger.warning(
            "math_equal_normalize is off, and %d of %d ground truths are too long to be answers, "
            "such as that of id %s: no response will equal them. Give the column with the "
            "answers only, or solutions that end with #### or a box",
            len(long),
            len(truths),
            long[0],
        )


def _is_long(truth: Any) -> bool:
    try:
        texts = ground_truth_texts(truth)
    except UnreadableGroundTruth:
        return False  # reported as an error of its sample when it is scored
    return all("\n" in text.strip() or len(text) > LONGEST_ANSWER for text in texts)
