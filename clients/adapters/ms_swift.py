"""ms-swift's reward class, for a plugin file:

    from swift.rewards import orms
    from touchstone_rewards.clients.adapters.ms_swift import AsyncRemoteReward
    orms["touchstone"] = AsyncRemoteReward

and `--external_plugins plugin.py --reward_funcs touchstone`. For another profile, register a
subclass with `profile = "…"`. ms-swift runs asynchronous reward classes concurrently;
`RemoteReward` is for versions that do not support them.

The prompt is the column `messages` without the answer. `signals` and `group_id` are the columns of
these names, and all other columns are metadata. Only fields that the profile reads are sent.

ms-swift adds rewards with `nansum`, which would turn None into 0. Therefore a sample without a
reward raises, unless the class sets `null_reward`.

Source: ms-swift 4.6.0 and 3602360, swift/rewards/orm.py and swift/rl_core/grpo_algorithm.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from touchstone_rewards.clients.adapters.numbers import Numbers, rewards_of, rewards_of_async
from touchstone_rewards.clients.adapters.options import unknown_option
from touchstone_rewards.clients.adapters.rows import from_row
from touchstone_rewards.clients.errors import MissingColumn
from touchstone_rewards.reward_server.schemas import Sample

# Keyword arguments that ms-swift passes in addition to the dataset's columns.
OF_MS_SWIFT = {"trainer_state", "completions", "response_token_ids", "add_eos"}


class RemoteReward:
    """Reward class, called with the completions and the dataset's columns. The ground truth is the
    column `solution`."""

    profile = "math"
    url: str | None = None
    null_reward: float | None = None
    ground_truth_column = "solution"
    prompt_column: str | None = None

    def __init__(self, args: Any = None, **_: Any) -> None:
        self.args = args

    def __init_subclass__(cls) -> None:
        """Raise TypeError if the subclass sets an attribute like `profil`."""
        options = [name for name in vars(RemoteReward) if not name.startswith("_")]
        for name in vars(cls):
            if name not in options and difflib.get_close_matches(name, options, 1, 0.8):
                raise unknown_option(cls.__name__, name, options)

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """Return one reward per completion.

        Raises:
            NoReward, RewardClientError: as `adapters.numbers.rewards_of` does.
            MissingColumn: the subclass names a ground truth column that the batch lacks.
        """
        samples = self.samples(completions, columns)
        return _rewards(rewards_of(samples, self.profile, self.url, self.null_reward))

    def samples(self, completions: Sequence[str], columns: dict[str, Any]) -> list[Sample]:
        """Return one sample per completion."""
        name = self.ground_truth_column
        if name not in columns and name != RemoteReward.ground_truth_column:
            there = ", ".join(sorted({*columns} - OF_MS_SWIFT))
            raise MissingColumn(f"no column {name!r}; the batch has {there}")
        count = len(completions)
        rows = {
            key: values
            for key, values in columns.items()
            if key not in OF_MS_SWIFT and _is_column(values, count)
        }
        truths = rows.pop(name, [None] * count)
        return [
            from_row(
                str(i),
                completions[i],
                truths[i],
                {key: values[i] for key, values in rows.items()},
                prompt_key=self.prompt_column,
            )
            for i in range(count)
        ]


class AsyncRemoteReward(RemoteReward):
    """Asynchronous reward class, which ms-swift runs concurrently with others."""

    async def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, completions: Sequence[str], **columns: Any
    ) -> list[float]:
        samples = self.samples(completions, columns)
        found = await rewards_of_async(samples, self.profile, self.url, self.null_reward)
        return _rewards(found)


def _is_column(values: Any, count: int) -> bool:
    return hasattr(values, "__getitem__") and hasattr(values, "__len__") and len(values) == count


def _rewards(found: list[Numbers]) -> list[float]:
    return [reward for reward, _ in found]
