"""The `limr:` section of a config: where rewards come from, and which samples are kept.

The fields are named as in the LIMR workflow on LLaMA-Factory. Combinations that cannot work are
refused with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from touchstone_rewards.trainer.errors import InputError

REWARD_TYPES = ("rule", "remote")


@dataclass
class LimrArguments:
    """Rewards by rules in this process or from a remote server; every scored sample is kept."""

    enabled: bool = field(
        default=False, metadata={"help": "Take the rewards from this section, not from reward_url."}
    )
    reward_type: str = field(
        default="rule", metadata={"help": "rule (scored in this process) or remote (a server)."}
    )
    reward_url: str | None = field(
        default=None, metadata={"help": "Reward server, for reward_type remote."}
    )
    ground_truth_dataset: str | None = field(
        default=None, metadata={"help": "Rows of id and answer, for reward_type rule."}
    )
    save_samples_path: str | None = field(
        default=None, metadata={"help": "Folder for the samples. Default: OUTPUT_DIR/samples."}
    )
    save_every_n_steps: int = field(
        default=1, metadata={"help": "Keep only the samples of every n-th step."}
    )
    math_equal_normalize: bool = field(
        default=True,
        metadata={"help": "For rule: compare answers mathematically; false: letter by letter."},
    )
    reward_correct: float = field(
        default=1.0, metadata={"help": "For rule: reward of a right answer."}
    )
    reward_incorrect: float = field(
        default=-1.0, metadata={"help": "For rule: reward of a wrong answer."}
    )

    def check(self, reward_urls: list[str] | None, validation: bool) -> None:
        """Refuse combinations that cannot work; `reward_urls` are those outside this section.

        Raises:
            InputError: such a combination; the message gives the reason.
        """
        if not self.enabled:
            return
        if self.reward_type not in REWARD_TYPES:
            raise InputError(
                f"limr.reward_type must be {' or '.join(REWARD_TYPES)}, not {self.reward_type!r}"
            )
        if self.save_every_n_steps < 1:
            raise InputError("limr.save_every_n_steps must be at least 1")
        if reward_urls:
            raise InputError(
                "limr.enabled takes the rewards from the section limr: leave out reward_url, or "
                "set limr.enabled false"
            )
        (self._check_rule if self.reward_type == "rule" else self._check_remote)()
        if self.reward_type == "rule" and validation:
            raise InputError(
                "limr.reward_type rule has no answers for evaluation rows: set eval_strategy no or "
                "reward_type remote"
            )

    def _check_rule(self) -> None:
        if not self.ground_truth_dataset:
            raise InputError("limr.reward_type rule needs limr.ground_truth_dataset")
        if self.reward_url:
            raise InputError("limr.reward_type rule uses no server: leave out limr.reward_url")
        if self.reward_correct <= self.reward_incorrect:
            raise InputError("limr.reward_correct must be more than limr.reward_incorrect")

    def _check_remote(self) -> None:
        if not self.reward_url:
            raise InputError("limr.reward_type remote needs limr.reward_url")
        defaults = LimrArguments()
        for name in (
            "ground_truth_dataset",
            "math_equal_normalize",
            "reward_correct",
            "reward_incorrect",
        ):
            if getattr(self, name) != getattr(defaults, name):
                raise InputError(
                    f"limr.{name} has no effect with limr.reward_type remote: the server's profile "
                    "decides"
                )
