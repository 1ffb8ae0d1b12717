#!/usr/bin/env bash
# verl GRPO, rewards from a Touchstone server through the verl adapter of touchstone_rewards, which must
# be installed on every node. MODEL, TRAIN and VALIDATION (parquet files) come from the environment.
set -euo pipefail

python3 -m verl.trainer.main_ppo \
   algorithm.adv_estimator=grpo \
   data.train_files="${TRAIN:?a parquet file}" \
   data.val_files="${VALIDATION:?a parquet file}" \
   actor_rollout_ref.model.path="${MODEL:?a model}" \
   actor_rollout_ref.rollout.n=8 \
   reward.custom_reward_function.path=pkg://touchstone_rewards.clients.adapters.verl \
   reward.custom_reward_function.name=compute_score_async \
   +reward.custom_reward_function.reward_kwargs.url="${REWARD_URL:-http://127.0.0.1:8700}" \
   +reward.custom_reward_function.reward_kwargs.profile="${PROFILE:-math}" \
   "$@"
