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
    and that are stood in for. `left_out`: parts that this way cannot carry, and why.
    """

    name: str
    way: str
    script: str
    environment: str
    form: Form = "question"
    checkout: str | None = None
    absent: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict[str, str])


_TRL = "`GRPOTrainer.train`, two steps: `rewards_per_func`"
PEERS = (
    Peer("TRL, newest", _TRL, "with_trl", "trl_newest"),
    Peer("TRL 1.6", _TRL, "with_trl", "trl_1_6"),
    Peer("TRL 1.5", _TRL, "with_trl", "trl_1_5"),
    Peer("TRL 0.24", _TRL, "with_trl", "trl_0_24"),
    Peer(
        "verl",
        "`RewardLoopManager.compute_rm_score`, two Ray actors: `rm_scores`",
        "with_verl",
        "parity_verl",
    ),
    Peer(
        "OpenRLHF",
        "`RolloutRayActor`, `SamplesGenerator`, `RemoteExperienceMaker`: `Experience.rewards`",
        "with_openrlhf",
        "parity_openrlhf",
        form="rendered",
        absent=("vllm", "deepspeed", "flash_attn"),
    ),
    Peer(
        "slime",
        "`generate_and_rm_group` with `remote_rm`: `Sample.reward`",
        "with_slime",
        "parity_slime",
        checkout="slime",
        absent=("sglang", "sglang_router", "megatron", "ray", "wandb"),
    ),
    Peer(
        "LLaMA-Factory",
        "`run_exp`, stage ppo, two steps: `get_rewards`",
        "with_llamafactory",
        "parity_llamafactory",
        form="rendered",
        absent=("torchaudio", "torchvision"),
    ),
    Peer(
        "EasyR1",
        "`AutoRewardManager` as its trainer's Ray actor: the reward tensor",
        "with_easyr1",
        "parity_easyr1",
        form="alone",
        checkout="EasyR1",
        absent=("vllm",),
        left_out={"mix": "a reward function is given no metadata to route by"},
    ),
    Peer(
        "ms-swift",
        "`rlhf_main` with a plugin, GRPO, two steps: `rewards_per_func`",
        "with_ms_swift",
        "parity_ms_swift",
    ),
    Peer(
        "NeMo Gym",
        "`SimpleAgent.run`, then `RolloutReverificationHelper`: the row's `reward`",
        "with_nemo_gym",
        "nemo_gym",
        checkout="Gym",
        absent=("ray", "mlflow", "wandb", "yappi", "gprof2dot", "pydot", "anthropic", "devtools"),
    ),
    Peer(
        "ROLL",
        "`RemoteRewardSystemWorker.compute_rewards`: `scores`",
        "with_roll",
        "parity_roll",
        checkout="ROLL",
    ),
)
# Trainers that are not run here, and why.
NOT_RUN: dict[str, str] = {
    "xtuner": "its judger is run by tests/contract/test_trainers.py, over slime's route; its trainer needs a GPU",
}
