"""swift rlhf --rlhf_type grpo --external_plugins ms_swift_plugin.py --reward_funcs touchstone"""

from swift.rewards import orms

from touchstone_rewards.clients.adapters.ms_swift import RemoteReward


class Touchstone(RemoteReward):
    profile = "math"


orms["touchstone"] = Touchstone
