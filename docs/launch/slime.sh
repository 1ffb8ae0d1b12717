#!/usr/bin/env bash
# slime or miles, rewards from a Touchstone server: the arguments to add to one of their scripts
# in place of --rm-type. `source` this and pass "${REWARD_ARGS[@]}" to train.py.
REWARD_URL=${REWARD_URL:-http://127.0.0.1:8700}
PROFILE=${PROFILE:-math}

REWARD_ARGS=(
   --rm-type remote_rm
   --rm-url "${REWARD_URL}/compat/slime/rm_dict?profile=${PROFILE}"
   --reward-key score
   --label-key label
)
