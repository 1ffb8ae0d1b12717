"""TRL's reward functions, made of a client's `score`.

In: what TRL passes (prompts, completions, dataset columns). Out: one reward a completion, None
where there is none: TRL leaves such a row out. It decides nothing about scores, and does not stop
training for a server that is down.

Source: `GRPOTrainer._calculate_rewards` in trl 1.16, trl/trainer/grpo_trainer.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from touchstone_rewards.clients.errors import RewardServerUnavailable
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Message, Priority, Sample

logger = logging.getLogger(__name__)

Text = str | Sequence[dict[str, Any]]
OnResults = Callable[[list[Sample], list[ScoreResult | None]], None]


class Score(Protocol):
    """The part of `AsyncRemoteRewardClient` that is used here."""

    def __call__(
        self, samples: list[Sample], profile: str, *, priority: Priority, explain: bool
    ) -> Awaitable[list[ScoreResult]]: ...


class TrlReward(Protocol):
    """What TRL calls: a coroutine function whose name it logs."""

    __name__: str

    def __call__(
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> Awaitable[list[float | None]]: ...


class TrlOptions(TypedDict, total=False):
    """What can be chosen for a TRL reward function."""

    ground_truth_column: str
    """The dataset column with the reference answers; "ground_truth" if not given."""
    id_column: str
    """The column with the rows' ids; "id" if not given. Without one, the prompt's hash."""
    signals_column: str
    """The column with the rows' signals; "signals" if not given."""
    metadata_columns: Sequence[str]
    """Columns that travel as the samples' metadata; none if not given."""
    on_results: OnResults
    """Called with every sample and its result, None for those that got no answer."""
    priority: Priority
    explain: bool


def trl_reward(score: Score, profile: str, **options: Unpack[TrlOptions]) -> TrlReward:
    """A reward function for `GRPOTrainer(reward_funcs=...)` and its like.

    A server that is down beyond the client's deadline gives rewards of None and a warning. What no
    retry can mend (a wrong key, an unknown profile, a body that does not fit) is raised.
    """
    on_results = options.get("on_results")

    async def reward(
        prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> list[float | None]:
        samples = samples_of(prompts, completions, columns, options)
        try:
            results: list[ScoreResult | None] = list(
                await score(
                    samples,
                    profile,
                    priority=options.get("priority", "train"),
                    explain=options.get("explain", False),
                )
            )
        except RewardServerUnavailable as error:
            logger.warning("no reward for some completions, TRL leaves them out: %s", error)
            results = list(error.results)
        if on_results is not None:
            on_results(samples, results)
        if "log_metric" in columns:
            log_scores(results, profile, columns["log_metric"])
        return rewards_of(results)

    reward.__name__ = reward.__qualname__ = profile
    return reward


def samples_of(
    prompts: Sequence[Text],
    completions: Sequence[Text],
    columns: dict[str, Any],
    options: TrlOptions,
) -> list[Sample]:
    """The samples of one call. Their ids are ROW/K, K counting the completions of a row."""
    count = len(completions)
    ids = columns.get(options.get("id_column", "id")) or [prompt_id(prompt) for prompt in prompts]
    truths = columns.get(options.get("ground_truth_column", "ground_truth")) or [None] * count
    signals = columns.get(options.get("signals_column", "signals")) or [None] * count
    metadata = {name: columns[name] for name in options.get("metadata_columns", ())}
    seen: Counter[str] = Counter()
    samples = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = str(ids[i])
        samples.append(
            Sample(
                id=f"{row}/{seen[row]}",
                response=text_of(completion),
                prompt=prompt if isinstance(prompt, str) else [_message(turn) for turn in prompt],
                ground_truth=truths[i],
                group_id=row,
                signals=signals[i] or {},
                metadata={name: values[i] for name, values in metadata.items()},
            )
        )
        seen[row] += 1
    return samples


def rewards_of(results: Sequence[ScoreResult | None]) -> list[float | None]:
    """What TRL is given: None where there is no answer, or no reward in it."""
    return [None if result is None else result.reward for result in results]


def mean_scores(results: Sequence[ScoreResult | None]) -> dict[str, float]:
    """Each scorer's mean over the samples that it could score; without those it never could."""
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in (result.scores if result else {}).items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}


def log_scores(
    results: Sequence[ScoreResult | None], profile: str, log: Callable[[str, float], None]
) -> None:
    """Log each scorer's mean score, and the share of completions without a reward."""
    for name, mean in mean_scores(results).items():
        log(f"{profile}/{name}", mean)
    if results:
        log(f"{profile}/no_reward", rewards_of(results).count(None) / len(results))


def prompt_id(prompt: Text) -> str:
    """An id that is the same for the same prompt in every run: 16 hex digits of its SHA-256."""
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]


def text_of(completion: Text) -> str:
    """What the policy wrote: a chat's assistant turns, without what tools answered between them."""
    if isinstance(completion, str):
        return completion
    turns = [_message(turn) for turn in completion]
    return "\n".join(_content(turn.content) for turn in turns if turn.role == "assistant")


def _message(turn: dict[str, Any]) -> Message:
    return Message(role=turn["role"], content=turn.get("content"))


def _content(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""
