"""Where rewards come from, as fields: servers, profiles, columns, a server of the command's own.

In: fields. Out: checked values. Nothing is asked or started here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RewardArguments:
    """Where the rewards come from, and how many may fail. The key is read from REWARD_API_KEY."""

    reward_url: list[str] | None = field(
        default=None,
        metadata={"help": "One reward server, or several. Default: REWARD_URL, else port 8700."},
    )
    reward_profile: str = field(
        default="math", metadata={"help": "The profile whose reward is maximised."}
    )
    also_reward_profile: list[str] | None = field(
        default=None,
        metadata={"help": "Further profiles, each a reward of its own beside the first."},
    )
    reward_scores: list[str] | None = field(
        default=None,
        metadata={
            "help": "Scores of reward_profile, each a reward of its own in place of the profile's; "
            "reward_weights weighs these, then the further profiles."
        },
    )
    reward_timeout_s: float = field(
        default=60.0,
        metadata={"help": "Longest wait for the rewards of one step, retries included."},
    )
    max_failed_frac: float = field(
        default=0.25,
        metadata={"help": "Share of a step's rewards that may fail before the step is a bad one."},
    )
    failed_steps_patience: int = field(
        default=3, metadata={"help": "Bad steps in a row after which the run stops."}
    )
    on_alarm: Literal["log", "stop"] = field(
        default="log",
        metadata={"help": "At an alarm of the watch."},
    )
    ground_truth_column: str = field(
        default="ground_truth", metadata={"help": "The column with the reference answers."}
    )
    metadata_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns kept with every sample and sent along."}
    )

    @property
    def profiles(self) -> list[str]:
        """The profile whose reward is maximised, then the further ones."""
        return [self.reward_profile, *(self.also_reward_profile or ())]

    def __post_init__(self) -> None:
        if not 0 <= self.max_failed_frac <= 1:
            raise ValueError(f"max_failed_frac is a share, 0 to 1, not {self.max_failed_frac}")
        if self.failed_steps_patience < 1 or self.reward_timeout_s <= 0:
            raise ValueError("failed_steps_patience and reward_timeout_s must be positive")


@dataclass
class ServeArguments:
    """A reward server of this command's own, for as long as it runs."""

    serve: bool = field(
        default=False,
        metadata={
            "help": "Start one on a free port, in place of reward_url; its log is server.log."
        },
    )
    serve_profiles: str | None = field(
        default=None, metadata={"help": "A folder of your own profiles for it (*.yaml)."}
    )
    serve_config: str | None = field(
        default=None,
        metadata={"help": "A YAML file of settings of reward-server serve for it."},
    )

    def __post_init__(self) -> None:
        if (self.serve_profiles or self.serve_config) and not self.serve:
            raise ValueError("serve_profiles and serve_config belong to serve: true")

    def options(self) -> list[str]:
        """The flags of `reward-server serve`."""
        config = [f"--config={self.serve_config}"] if self.serve_config else []
        return config + ([f"--profiles_dir={self.serve_profiles}"] if self.serve_profiles else [])
