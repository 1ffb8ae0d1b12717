"""The list of all formats. To add one, add a file to this folder and a line here."""

from __future__ import annotations

from typing import Any

from touchstone_rewards.reward_server.compat.eval_protocol import EVAL_PROTOCOL
from touchstone_rewards.reward_server.compat.format import Format
from touchstone_rewards.reward_server.compat.limr import LIMR
from touchstone_rewards.reward_server.compat.llamafactory import LLAMAFACTORY
from touchstone_rewards.reward_server.compat.nemo_gym import GYM_ANSWERS, NEMO_GYM
from touchstone_rewards.reward_server.compat.openrlhf import OPENRLHF
from touchstone_rewards.reward_server.compat.rewards import REWARDS
from touchstone_rewards.reward_server.compat.roll import ROLL, ROLL_ANSWERS
from touchstone_rewards.reward_server.compat.sglang import SGLANG
from touchstone_rewards.reward_server.compat.slime import SLIME, SLIME_DICT
from touchstone_rewards.reward_server.compat.vllm import VLLM, VLLM_POOLING

FORMATS: tuple[Format[Any], ...] = (
    OPENRLHF,
    LIMR,
    SLIME,
    SLIME_DICT,
    LLAMAFACTORY,
    NEMO_GYM,
    VLLM,
    VLLM_POOLING,
    SGLANG,
    EVAL_PROTOCOL,
    REWARDS,
    ROLL,
)
FIXED_ANSWERS = (*GYM_ANSWERS, *ROLL_ANSWERS)
