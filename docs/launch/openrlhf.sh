#!/usr/bin/env bash
# OpenRLHF GRPO, rewards from a Touchstone server. MODEL and DATA come from the environment.
set -euo pipefail
REWARD_URL=${REWARD_URL:-http://127.0.0.1:8700}
PROFILE=${PROFILE:-math}

python3 -m openrlhf.cli.train_ppo_ray \
   --actor.model_name_or_path "${MODEL:?a model}" \
   --reward.remote_url "${REWARD_URL}/compat/openrlhf/get_reward?profile=${PROFILE}" \
   --data.prompt_dataset "${DATA:?a dataset with prompts and answers}" \
   --data.input_key "${INPUT_KEY:-problem}" \
   --data.label_key "${LABEL_KEY:-answer}" \
   --data.apply_chat_template \
   --algo.advantage.estimator group_norm \
   --rollout.n_samples_per_prompt 8 \
   --ckpt.output_dir "${OUTPUT:-runs/openrlhf}" \
   "$@"
