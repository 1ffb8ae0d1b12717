"""verl's `compute_score`: scores one sample and returns `score` and the scorers' numbers.

The keys are the same for every sample and all values are numbers, as verl's batches require. A
sample without a reward raises, which ends the run, unless `null_reward` is set.

    reward.custom_reward_function.path=pkg://touchstone_rewards.clients.adapters.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.profile=math

verl passes a reward function no prompt. For profiles that read the prompt, put it into the row's
`extra_info` as `prompt`, `question` or `messages`, or name its key by `prompt_key`. `signals` and
`group_id` are read from `extra_info` too, and its other keys are metadata. Only fields that the
profile reads are sent.

Reward loops that await use `compute_score_async`, which needs no thread per sample.

verl's manager `rate_limited` turns every exception into a reward of 0. Under it, the score of a
sample without a reward is a text with the reason, and verl fails to make a tensor of it.

Source: verl 0.9.1, verl/experimental/reward_loop/reward_manager/naive.py; verl 1dda039.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from touchstone_rewards.clients.adapters.numbers import Numbers, rewards_of, rewards_of_async
from touchstone_rewards.clients.adapters.options import unknown_option
from touchstone_rewards.clients.adapters.rows import from_row
from touchstone_rewards.reward_server.schemas import Sample

OWN_KEYS = ("score",)
OPTIONS = ("profile", "url", "null_reward", "prompt_key")
# Keyword arguments that verl's reward managers add if a reward model is configured.
OF_VERL = frozenset({"reward_router_address", "reward_model_tokenizer"})
LIMITED = "verl.experimental.reward_loop.reward_manager.limited"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
    prompt_key: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return `score`, each scorer's number and `no_reward`.

    Raises:
        NoReward, RewardClientError: as `adapters.numbers.rewards_of` does.
        TypeError: an unknown option in `reward_kwargs`.
    """
    try:
        _check_options(others)
        sample = _sample(data_source, solution_str, ground_truth, extra_info or {}, prompt_key)
        return _said(rewards_of([sample], profile, url, null_reward, OWN_KEYS))
    except Exception as error:
        if _swallows_errors():
            return _text_of(error)
        raise


async def compute_score_async(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    profile: str = "math",
    url: str | None = None,
    null_reward: float | None = None,
    prompt_key: str | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the numbers as `compute_score` does."""
    try:
        _check_options(others)
        sample = _sample(data_source, solution_str, ground_truth, extra_info or {}, prompt_key)
        return _said(await rewards_of_async([sample], profile, url, null_reward, OWN_KEYS))
    except Exception as error:
        if _swallows_errors():
            return _text_of(error)
        raise


def _check_options(others: Mapping[str, Any]) -> None:
    for name in others:
        if name not in OF_VERL:
            raise unknown_option("compute_score", name, OPTIONS)


def _swallows_errors() -> bool:
    """Return whether this process runs verl's `rate_limited` manager."""
    manager = getattr(sys.modules.get(LIMITED), "RateLimitedRewardManager", None)
    return bool(getattr(manager, "_class_initialized", False))


def _text_of(error: Exception) -> dict[str, str]:
    return {"score": f"{type(error).__name__}: {error}"}


def _sample(
    data_source: str, response: str, truth: Any, row: Mapping[str, Any], prompt_key: str | None
) -> Sample:
    index = row.get("index")
    name = str(data_source if index is None else f"{data_source}-{index}")
    about = {"data_source": data_source, **row}
    return from_row(name, response, truth, about, group=name, prompt_key=prompt_key)


def _said(found: list[Numbers]) -> dict[str, float]:
    [(reward, scores)] = found
    return {**scores, "score": reward}
