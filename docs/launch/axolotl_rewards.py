"""Rewards for Axolotl: put this file beside its YAML.

The YAML needs trl: {reward_funcs: [axolotl_rewards.math]}.
"""

from touchstone_rewards.clients import RemoteRewardClient

math = RemoteRewardClient().as_trl_reward("math", ground_truth_column="answer")
