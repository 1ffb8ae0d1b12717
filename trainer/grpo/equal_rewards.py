"""A warning for a run that learns next to nothing: groups whose rewards are all the same.

In: TRL's logs. Out: one warning a run, with what may be the cause. It stops nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

LIMIT = 0.9
STEPS = 10


class WarnOfEqualRewards(TrainerCallback):
    """Warns once when over the last 10 updates more than 90% of the groups had equal rewards."""

    def __init__(self) -> None:
        # Of each log: the update it was made at, the updates that it is the mean of, the share.
        self.seen: deque[tuple[int, int, float]] = deque()
        self.last = 0
        self.warned = False

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self.last = state.global_step  # not 0 in a resumed run

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        share = (logs or {}).get("frac_reward_zero_std")
        if share is None or self.warned:
            return
        self.seen.append((state.global_step, state.global_step - self.last, share))
        self.last = state.global_step
        while self.seen[0][0] <= state.global_step - STEPS:
            self.seen.popleft()
        updates = sum(count for _, count, _ in self.seen)
        mean = sum(count * value for _, count, value in self.seen) / max(updates, 1)
        if updates >= STEPS and mean > LIMIT:
            self.warned = True
            if state.is_world_process_zero:
                logger.warning(message(updates, mean, logs or {}))


def message(updates: int, share: float, logs: dict[str, Any]) -> str:
    """What is seen over so many updates, and the likely causes by the other measures."""
    reward, cut = logs.get("reward"), logs.get("completions/clipped_ratio") or 0.0
    causes = []
    if cut > 0.5:
        causes.append(f"{cut:.0%} of the responses are cut off: raise max_completion_length")
    if reward is not None and reward > LIMIT:
        causes.append("nearly all are right: the rows are too easy for this model")
    elif reward is not None and reward < 1 - LIMIT:
        causes.append(
            "nearly none is right: rows too hard, a form that the model never hits (start from "
            "SFT, or try another prompt_template), or the wrong ground_truth_column"
        )
    causes.append("responses hardly differ: raise temperature or num_generations")
    return (
        f"over the last {updates} updates {share:.0%} of the groups had equal rewards, and taught "
        f"nothing. Likely causes: {'; '.join(causes)}"
    )
