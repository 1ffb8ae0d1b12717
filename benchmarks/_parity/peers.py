"""The table of trainers: how each is run, and what of the samples its way of asking carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# What the server is given beside the response: the question; the chat template's text, the end
# token behind the response; no prompt at all.
Form = Literal["question", "rendered", "alone"]


@dataclass(frozen=True)
class Peer:
    """One trainer in one version.

    `way`: its code that asks, and what it holds. `environment`: the requirements file below
    tests/contract/environments. `checkout`: the repository's folder where the code is not in the
    environment. `absent`: packages that it imports, that need a GPU or are not on a reward's way,
    and that are stood in for. `null`: a pattern for what it does with a sample without a reward:
    anything else is a fault. `left_out`: parts that this way cannot carry, and why.
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
        absent=("sglang", "sglang_router", "megatron", "ray", "wandb"),
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
        "`AutoRewardManager.compute_reward`, in batches: the reward tensor",
        "with_easyr1",
        "easyr1",
        "NoReward",
        form="alone",
        checkout="EasyR1",
        absent=("ray", "vllm"),
        left_out={"mix": "a reward function is given no metadata to route by"},
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
        checkout="Gym",
        absent=("ray", "mlflow", "wandb", "yappi", "gprof2dot", "pydot", "anthropic", "devtools"),
    ),
    Peer(
        "ROLL",
        "`RemoteRewardSystemWorker.compute_rewards`: `scores`",
        "with_roll",
        "parity_roll",
        "^(ValueError|TypeError): .*str",
        checkout="ROLL",
    ),
)
# Trainers that may be missing from the results, and why. One whose environment is there is run,
# and says itself why it ended without results.
NOT_RUN: dict[str, str] = {
    "ROLL": "commit 8eb27cc imports transfer_queue and omegaconf, which its environment here "
    "lacks; tests/contract/test_trainers.py has its reward system handler submit and poll",
    "xtuner": "its trainer needs a GPU; tests/contract/test_trainers.py has its judger ask slime's "
    "route",
}
