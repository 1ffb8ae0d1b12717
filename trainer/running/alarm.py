"""The end of a run whose reward is gamed: a checkpoint, a stop, one line that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from touchstone_rewards.trainer.errors import RunFailed

MOST_CHARACTERS = 200  # of a run's name on the wire


class StopOnAlarm(TrainerCallback):
    """Saves and stops after the update in which there was an alarm. `said`: what it said, or None
    without one; the same on all ranks."""

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
        """Raise if the run was stopped, once its files are written.

        Raises:
            RunFailed: why, and how to go on.
        """
        if self.stopped_at is not None:
            raise RunFailed(
                f"stopped after update {self.stopped_at} by an alarm: {self.said()}. Its samples "
                f"are at /alarms of the reward server. checkpoint-{self.stopped_at} is saved: mend "
                "the reward and start anew, or go on with --resume_from_checkpoint true "
                "--on_alarm log"
            )


def run_name(args: TrainingArguments) -> str:
    """Return what the run is called for the watch: its run_name, or where its folder is."""
    folder = f"{gethostname()}:{Path(args.output_dir or '.').resolve()}"
    return (args.run_name or folder)[-MOST_CHARACTERS:]
