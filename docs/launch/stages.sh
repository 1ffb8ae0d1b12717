#!/usr/bin/env bash
# From a base model to a measured one, each stage going on from the one before it:
# SFT with LoRA, a reward model, PPO against that reward model, merge, serve, eval.
#
#   MODEL=Qwen/Qwen2.5-0.5B LESSONS=lessons.jsonl PAIRS=pairs.jsonl PROMPTS=prompts.jsonl \
#     TEST=test.jsonl OUTPUT=runs/stages bash docs/launch/stages.sh
#
# LESSONS   prompt and response             PAIRS   prompt, chosen, rejected
# PROMPTS   prompt                          TEST    prompt, ground_truth
# FLAGS     for every training command; without a GPU:
#           "--use_cpu=true --bf16=false --gradient_checkpointing=false"
# SFT, RM, PPO, EVAL   more flags of one stage: SFT="--max_steps=100 --learning_rate=1e-4"
set -euo pipefail

: "${MODEL:?a model folder or hub name}" "${LESSONS:?}" "${PAIRS:?}" "${PROMPTS:?}" "${TEST:?}"
OUTPUT=${OUTPUT:-runs/stages}
PORT=${PORT:-8700}
TRAINER=${TRAINER:-trainer}
SERVER=${SERVER:-reward-server}
# Words of these are flags, so they are not quoted.
FLAGS=${FLAGS:-} SFT=${SFT:-} RM=${RM:-} PPO=${PPO:-} EVAL=${EVAL:-}
mkdir -p "$OUTPUT/profiles"

echo "== SFT with LoRA: an adapter in $OUTPUT/sft"
$TRAINER sft --model_name_or_path "$MODEL" --dataset_name "$LESSONS" --output_dir "$OUTPUT/sft" \
  --use_peft --lora_target_modules q_proj v_proj $FLAGS $SFT

echo "== a reward model, from the SFT model: the adapter's folder stands for the model"
$TRAINER rm --model_name_or_path "$OUTPUT/sft" --dataset_name "$PAIRS" --output_dir "$OUTPUT/rm" \
  $FLAGS $RM

# trainer rm has written mean and std of its scores into config.json: normalize reads them.
cat >"$OUTPUT/profiles/liked.yaml" <<PROFILE
description: what the reward model of this run likes, in standard deviations from its mean
scorers:
  preference:
    scorer: reward_model
    config: {model: "$(cd "$OUTPUT/rm" && pwd)", template: plain, append_eos: true, normalize: true}
PROFILE

echo "== PPO goes on training the adapter; the critic starts from the reward model"
$TRAINER ppo --model_name_or_path "$OUTPUT/sft" --dataset_name "$PROMPTS" \
  --output_dir "$OUTPUT/ppo" --serve --serve_profiles "$OUTPUT/profiles" --reward_profile liked \
  --critic separate --critic_model_name_or_path "$OUTPUT/rm" --critic_normalize true $FLAGS $PPO

echo "== merge: a plain model folder"
$TRAINER merge --model "$OUTPUT/ppo" --output "$OUTPUT/merged"

echo "== serve"
$SERVER serve --port "$PORT" --profiles_dir "$OUTPUT/profiles" >"$OUTPUT/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
until [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PORT/ready")" = 200 ]; do
  kill -0 "$server" || { tail -n 5 "$OUTPUT/server.log"; exit 1; }
  sleep 0.2
done

echo "== eval of the merged model: right answers, and how much it is liked"
$TRAINER eval --model "$OUTPUT/merged" --dataset "$TEST" --output "$OUTPUT/eval" --profile math \
  --also_profile liked --reward_url "http://127.0.0.1:$PORT" $EVAL
