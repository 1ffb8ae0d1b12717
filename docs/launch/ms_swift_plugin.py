"""A plugin for ms-swift.

swift rlhf --rlhf_type grpo --external_plugins ms_swift_plugin.py --reward_funcs touchstone
"""

from swift.rewards import orms

from touchstone_rewards.clients.adapters.ms_swift import AsyncRemoteReward


class Touchstone(AsyncRemoteReward):
    profile = "math"


orms["touchstone"] = Touchstone
