"""Stop a run when the reward server's watch raises an alarm, and report why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from touchstone_rewards.trainer.errors import RunFailed

MOST_CHARACTERS = 200  # of a run's name in a request


class StopOnAlarm(TrainerCallback):
    """Saves a checkpoint and stops after the update in which an alarm arrived.

    `said` returns the alarm's message, or None without one; it is the same on all ranks.
    """

    def __init__(self, said: Callable[[], str | None]) -> None:
        self.said = said
        self.stopped_at: int | None = None

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if self.said() is not None:
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def check(self) -> None:
        """Raise if the run was stopped; call this after its files are written.

        Raises:
            RunFailed: an alarm stopped the run; the message says why and how to continue.
        """
        if self.stopped_at is not None:
            raise RunFailed(
                f"stopped after update {self.stopped_at} by an alarm: {self.said()}. Its samples "
                f"are at /alarms of the reward server. checkpoint-{self.stopped_at} is saved: "
                "correct the reward and start again, or continue with "
                "--resume_from_checkpoint true --on_alarm log"
            )


def run_name(args: TrainingArguments) -> str:
    """Return the run's name for the watch: its run_name, or else host and folder."""
    folder = f"{gethostname()}:{Path(args.output_dir or '.').resolve()}"
    return (args.run_name or folder)[-MOST_CHARACTERS:]
