"""Fields that say where rewards come from: servers, profiles, columns, or a server of our own.

The values are checked here; no server is contacted or started.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class RewardArguments:
    """Where the rewards come from, and how many may fail. The API key is read from
    REWARD_API_KEY."""

    reward_url: list[str] | None = field(
        default=None,
        metadata={"help": "One or more server URLs. Default: REWARD_URL, else port 8700."},
    )
    reward_profile: str = field(
        default="math", metadata={"help": "Profile whose reward is maximised."}
    )
    also_reward_profile: list[str] | None = field(
        default=None,
        metadata={"help": "Further profiles; each is an additional, separate reward."},
    )
    reward_scores: list[str] | None = field(
        default=None,
        metadata={
            "help": "Scores of reward_profile, each a separate reward instead of the profile's; "
            "reward_weights lists their weights first, then those of also_reward_profile."
        },
    )
    reward_timeout_s: float = field(
        default=60.0,
        metadata={"help": "Longest wait for the rewards of one step, including retries."},
    )
    max_failed_frac: float = field(
        default=0.25,
        metadata={"help": "A step counts as failed if more than this share of its rewards failed."},
    )
    failed_steps_patience: int = field(
        default=3, metadata={"help": "Stop the run after this many failed steps in a row."}
    )
    on_alarm: Literal["log", "stop"] = field(
        default="log",
        metadata={"help": "What to do when the server's watch raises an alarm."},
    )
    ground_truth_column: str = field(
        default="ground_truth", metadata={"help": "Column with the reference answers."}
    )
    metadata_columns: list[str] | None = field(
        default=None, metadata={"help": "Columns that are sent with every sample and kept with it."}
    )

    @property
    def profiles(self) -> list[str]:
        """Return the profile whose reward is maximised, then the further ones."""
        return [self.reward_profile, *(self.also_reward_profile or ())]

    def __post_init__(self) -> None:
        if not 0 <= self.max_failed_frac <= 1:
            raise ValueError(f"max_failed_frac must be between 0 and 1, not {self.max_failed_frac}")
        if self.failed_steps_patience < 1 or self.reward_timeout_s <= 0:
            raise ValueError("failed_steps_patience and reward_timeout_s must be positive")


@dataclass
class ServeArguments:
    """A reward server that this command starts, and stops when it ends."""

    serve: bool = field(
        default=False,
        metadata={
            "help": "Start one on a free port instead of using reward_url; it logs to server.log."
        },
    )
    serve_profiles: str | None = field(
        default=None, metadata={"help": "Folder with your own profiles for this server (*.yaml)."}
    )
    serve_config: str | None = field(
        default=None,
        metadata={"help": "YAML file with its settings, as for serve --config."},
    )

    def __post_init__(self) -> None:
        if (self.serve_profiles or self.serve_config) and not self.serve:
            raise ValueError("serve_profiles and serve_config need serve: true")

    def options(self) -> list[str]:
        """Return the flags for `reward-server serve`."""
        config = [f"--config={self.serve_config}"] if self.serve_config else []
        return config + ([f"--profiles_dir={self.serve_profiles}"] if self.serve_profiles else [])
