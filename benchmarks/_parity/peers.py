"""The table of trainers: how each is run, and in what form it sends the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# What the server is given as the prompt: the question; the chat template's text, with the end token
# behind the response; the chat template's text without special tokens.
Form = Literal["question", "rendered", "stripped"]


@dataclass(frozen=True)
class Peer:
    """One trainer in one version.

    Attributes:
        way: the code that is run, and the value that holds the rewards.
        script: the file in `scripts`.
        environment: the requirements file in tests/contract/environments.
        null: a pattern of its reaction to a sample without a reward; any other is a fault.
        form: the form in which it sends prompts.
        checkout: the folder of its sources, if the environment does not have them.
        absent: packages that it imports and that are replaced by mocks: they need a GPU, or take no
            part in rewards.
        left_out: parts that it cannot send, and why.
    """

    name: str
    way: str
    script: str
    environment: str
    null: str
    form: Form = "question"
    checkout: str | None = None
    absent: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict[str, str])


_TRL = "`GRPOTrainer.train`, two steps: `rewards_per_func`"
PEERS = (
    Peer("TRL, newest", _TRL, "with_trl", "trl_newest", "^advantages"),
    Peer("TRL 1.6", _TRL, "with_trl", "trl_1_6", "^advantages"),
    Peer("TRL 1.5", _TRL, "with_trl", "trl_1_5", "^NoReward"),
    Peer("TRL 0.24", _TRL, "with_trl", "trl_0_24", "^NoReward"),
    Peer(
        "verl",
        "`RewardLoopManager.compute_rm_score`, two Ray actors: `rm_scores`",
        "with_verl",
        "parity_verl",
        "NoReward",
    ),
    Peer(
        "OpenRLHF",
        "`RolloutRayActor`, `SamplesGenerator`, `RemoteExperienceMaker`: `Experience.rewards`",
        "with_openrlhf",
        "parity_openrlhf",
        "rewards are None",
        form="rendered",
        absent=("vllm", "deepspeed", "flash_attn"),
    ),
    Peer(
        "slime",
        "`generate_and_rm_group` with `remote_rm`: `Sample.reward`",
        "with_slime",
        "slime",
        "^ClientResponseError: (422|503)",
        checkout="slime",
        absent=("sglang", "sglang_router", "megatron"),
    ),
    Peer(
        "LLaMA-Factory",
        "`run_exp`, stage ppo, two steps: `get_rewards`",
        "with_llamafactory",
        "parity_llamafactory",
        "^KeyError: 'scores'",
        form="rendered",
        absent=("torchaudio", "torchvision"),
    ),
    Peer(
        "EasyR1",
        "`RLHFDataset`, `AutoRewardManager.compute_reward`, in batches: the reward tensor",
        "with_easyr1",
        "easyr1",
        "NoReward",
        checkout="EasyR1",
        absent=("vllm", "qwen_vl_utils"),
    ),
    Peer(
        "ms-swift",
        "`rlhf_main` with a plugin, GRPO, two steps: `rewards_per_func`",
        "with_ms_swift",
        "parity_ms_swift",
        "^NoReward",
    ),
    Peer(
        "NeMo Gym",
        "`SimpleAgent.run`, then `RolloutReverificationHelper`: the row's `reward`",
        "with_nemo_gym",
        "nemo_gym",
        "rollouts fail: ClientResponseError: 500",
        checkout="nemo-gym",
    ),
    Peer(
        "ROLL",
        "`UserDefinedRolloutLoop`, a reward `Cluster` of two Ray actors: each rollout's `scores`",
        "with_roll",
        "roll",
        "RuntimeError: no reward for",
        form="stripped",
        checkout="ROLL",
    ),
)
# Trainers that may be missing from the results, and why.
NOT_RUN: dict[str, str] = {
    "xtuner": "its trainer needs a GPU; tests/contract/test_trainers.py runs its judger against "
    "slime's route",
}
