"""trl: {reward_funcs: [axolotl_rewards.math]} in Axolotl's YAML; this file lies beside it."""

from touchstone_rewards.clients import RemoteRewardClient

math = RemoteRewardClient().as_trl_reward("math", ground_truth_column="answer")
