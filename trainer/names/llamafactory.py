"""LLaMA-Factory's keys: our names for them, keys that need no action, and replacements.

Data only; `brought.py` reads it. A key that a command has itself keeps the command's meaning.

Source: hiyouga/LLaMA-Factory, src/llamafactory/hparams/*.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_rewards.trainer.data.chat_templates import chat_template_file

# Their stage -> our command. The fifth stage is ours: LLaMA-Factory has no GRPO.
STAGES = {"sft": "sft", "rm": "rm", "dpo": "dpo", "ppo": "ppo", "grpo": "grpo"}
STAGES_NOT_HERE = {
    "kto": "dpo, on pairs (KTO is not supported)",
    "pt": "sft on rows of `text`, whose loss covers every token (no separate pre-training)",
}

# Key -> candidate fields; the first one that the command has is used.
RENAMED: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset_name",),
    "eval_dataset": ("eval_dataset_name",),
    "max_samples": ("max_rows",),
    "val_size": ("eval_share",),
    "cutoff_len": ("max_length", "max_prompt_length"),
    "template": ("chat_template_path", "chat_template"),
    "preprocessing_num_workers": ("dataset_num_proc",),
    "lora_rank": ("lora_r",),
    "lora_target": ("lora_target_modules",),
    "additional_target": ("lora_modules_to_save",),
    "quantization_type": ("bnb_4bit_quant_type",),
    "double_quantization": ("use_bnb_nested_quant",),
    "enable_liger_kernel": ("use_liger_kernel",),
    "use_reentrant_gc": ("gradient_checkpointing_kwargs",),
    "overwrite_output_dir": ("overwrite",),
    "pref_beta": ("beta",),
    "dpo_label_smoothing": ("label_smoothing",),
    "ppo_epochs": ("num_iterations",),
    "ppo_target": ("kl_target",),
    "ppo_score_norm": ("score_norm",),
    "ppo_whiten_rewards": ("whiten_rewards",),
    "max_new_tokens": ("max_completion_length",),
    "moe_aux_loss_coef": ("router_aux_loss_coef",),
}


def _names(value: object) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


READ: Mapping[str, Callable[[Any], Any]] = {
    "val_size": lambda value: None if float(value) == 0 else value,
    "template": lambda value: chat_template_file(str(value)),
    "lora_target": lambda value: "all-linear" if value == "all" else _names(value),
    "additional_target": _names,
    "use_reentrant_gc": lambda value: {"use_reentrant": str(value).lower() == "true"},
}

# Key -> the fields that each of its values sets; other values are refused with INSTEAD.
VALUES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "finetuning_type": {"lora": {"use_peft": True}, "full": {"use_peft": False}},
    "quantization_bit": {"4": {"load_in_4bit": True}, "8": {"load_in_8bit": True}},
    "quantization_method": {"bnb": {}, "bitsandbytes": {}},
    "flash_attn": {
        "auto": {},
        "disabled": {"attn_implementation": "eager"},
        "sdpa": {"attn_implementation": "sdpa"},
        "fa2": {"attn_implementation": "flash_attention_2"},
        "fa3": {"attn_implementation": "flash_attention_3"},
    },
    "disable_gradient_checkpointing": {
        "true": {"gradient_checkpointing": False},
        "false": {"gradient_checkpointing": True},
    },
    "train_on_prompt": {"true": {"completion_only_loss": False}},
    "neat_packing": {"true": {"packing": True}},
    "use_dft_loss": {"true": {"loss_type": "dft"}},
    "disable_shuffling": {"true": {"train_sampling_strategy": "sequential"}},
    "pref_loss": {
        "sigmoid": {"loss_type": "sigmoid"},
        "hinge": {"loss_type": "hinge"},
        "ipo": {"loss_type": "ipo"},
    },
    "pure_bf16": {"true": {"dtype": "bfloat16"}},
    "mix_strategy": {"concat": {}},
    "ppo_buffer_size": {"1": {}},
    "refresh_vllm_every": {"1": {}},
    "enable_thinking": {"true": {}},
    "do_sample": {"true": {}},
    "num_beams": {"1": {}},
    "add_valuehead": {"true": {}},
    "reward_model_type": {"api": {}, "limr": {}},
}

# Key -> the reason why no action is needed.
NEEDLESS: Mapping[str, str] = {
    "do_train": "the command name decides: `trainer sft` trains, `trainer eval` evaluates",
    "overwrite_cache": "tokenized rows are never reused from an earlier run",
    "overwrite_output_dir": "a run starts from scratch unless resume_from_checkpoint is set",
    "plot_loss": "the curves and a report are always written",
    "logging_dir": "the log is written into output_dir",
    "preprocessing_num_workers": "rows are tokenized when they are drawn",
    "preprocessing_batch_size": "rows are read in batches of 1000",
    "ddp_find_unused_parameters": "set by the trainer",
    "include_num_input_tokens_seen": "TRL counts tokens itself",
    "include_effective_tokens_per_second": "the curves show the time of each step",
    "use_v1_kernels": "attn_implementation and use_liger_kernel choose the kernels",
    "num_plot_samples": "the page of a selection shows its curves",
    "plot_dir": "the page of a selection shows its curves",
    "use_fast_tokenizer": "tokenizers are fast ones",
    "low_cpu_mem_usage": "weights are loaded straight from safetensors",
    "data_shared_file_system": "every process reads the rows itself",
    "ref_model_quantization_bit": "the reference is quantized as the policy is",
    "cutoff_len": "this command does not limit the prompt length",
    "simpo_gamma": "only pref_loss simpo reads it, which is not supported",
    "lora_rank": "LoRA is not enabled",
    "lora_target": "LoRA is not enabled",
    "val_size": "this command holds no rows out",
}

# Key -> the only stage that reads it; for other stages no action is needed.
OF_STAGE: Mapping[str, str] = {
    **dict.fromkeys(("ppo_epochs", "ppo_buffer_size", "ppo_target"), "ppo"),
    **dict.fromkeys(("ppo_score_norm", "ppo_whiten_rewards"), "ppo"),
    **dict.fromkeys(("reward_model", "reward_model_type", "reward_model_adapters"), "ppo"),
    **dict.fromkeys(("reward_model_quantization_bit", "max_new_tokens"), "ppo"),
    **dict.fromkeys(("do_sample", "num_beams", "length_penalty"), "ppo"),
    **dict.fromkeys(("pref_beta", "pref_loss", "pref_ftx", "pref_bco_weight"), "dpo"),
    **dict.fromkeys(("dpo_label_smoothing", "simpo_gamma"), "dpo"),
    **dict.fromkeys(("train_on_prompt", "mask_history", "neat_packing", "use_dft_loss"), "sft"),
    "add_valuehead": "rm",
}

_OPTIMIZER = "optim, with one of transformers' optimizers"
_TEXT_ONLY = "only text models and text rows are supported"
_MEGATRON = "accelerate launch with one of trainer/configs/accelerate/*.yaml"
_PREDICT = "`trainer eval`, which generates and scores"
_ROWS = "write the mixed rows into one file"
# Key -> a replacement, where the key asks for something that is not supported.
INSTEAD: Mapping[str, str] = {
    "finetuning_type": "lora or full",
    "quantization_bit": "4 or 8, by bitsandbytes (load_in_4bit, load_in_8bit)",
    "quantization_method": "bnb (load_in_4bit, load_in_8bit)",
    "flash_attn": "auto, disabled, sdpa, fa2 or fa3; or attn_implementation",
    "pref_loss": "loss_type: one of TRL's (sigmoid, hinge, ipo, apo_zero, sppo_hard, ...); "
    "orpo and simpo have trainers of their own in TRL",
    "pref_ftx": "loss_type: [sigmoid, sft] with loss_weights: [1, the coefficient]",
    "pref_bco_weight": "loss_type: [sigmoid, bco_pair] with loss_weights",
    "pref_beta": "beta, in dpo",
    "template": "prompt_template, or a model whose tokenizer has a chat template",
    "mix_strategy": f"concat; else {_ROWS}",
    "interleave_probs": _ROWS,
    "streaming": "parquet for large data (rows are memory-mapped)",
    "buffer_size": "parquet for large data (rows are memory-mapped)",
    "mask_history": "rows of prompt (the history) and response: the loss covers responses only",
    "train_on_prompt": "completion_only_loss: false, in sft",
    "neat_packing": "packing: true, in sft",
    "use_dft_loss": "loss_type: dft, in sft",
    "eval_on_each_dataset": "`trainer eval` on each",
    "eval_num_beams": _PREDICT,
    "do_eval": "eval_strategy",
    "do_predict": _PREDICT,
    "predict_with_generate": _PREDICT,
    "disable_shuffling": "train_sampling_strategy: sequential",
    "compute_accuracy": "sft logs mean_token_accuracy",
    "early_stopping_steps": "load_best_model_at_end with save_total_limit",
    "tool_format": "the tokenizer's own chat template (no template: NAME), which has tools",
    "default_system": "a system message in the rows",
    "enable_thinking": "template: qwen3_nothink, or the tokenizer's own with chat_template_kwargs",
    "preserve_thinking": "the tokenizer's own chat template",
    "adapter_folder": "the whole path in adapter_name_or_path",
    "create_new_adapter": "`trainer merge` first, then train LoRA on the merged model",
    "reward_model": "a reward server that serves it (reward-server serve), with its reward_url and "
    "profile",
    "reward_model_type": "api, with reward_model the URL of a reward server; or limr",
    "reward_model_adapters": "`trainer merge` the reward model first",
    "reward_model_quantization_bit": "dtype in the server's profile",
    "ppo_buffer_size": "steps_per_generation: gradient_accumulation_steps times the buffer",
    "ppo_target": "kl_target, in ppo",
    "ppo_score_norm": "a profile that normalizes its scores",
    "ppo_whiten_rewards": "whiten_advantages",
    "do_sample": "temperature",
    "num_beams": "sampling: temperature and top_p",
    "length_penalty": "sampling: temperature and top_p",
    "upcast_layernorm": "dtype: float32",
    "pure_bf16": "dtype: bfloat16",
    "rope_scaling": "model_init_kwargs",
    "cache_dir": "the environment variable HF_HOME",
    "hf_hub_token": "the environment variable HF_TOKEN",
    "resize_vocab": "a model whose embeddings have the tokens already",
    "add_tokens": "a tokenizer that has the tokens already",
    "add_special_tokens": "a tokenizer that has the tokens already",
    "infer_backend": "`trainer eval --engine`",
    "infer_dtype": "dtype",
    "use_galore": "optim: galore_adamw with optim_target_modules",
    "use_apollo": "optim: apollo_adamw with optim_target_modules",
    "use_badam": _OPTIMIZER,
    "use_adam_mini": _OPTIMIZER,
    "use_muon": _OPTIMIZER,
    "use_asft_loss": "loss_type: nll or dft, in sft",
    "use_eaft_loss": "loss_type: nll or dft, in sft",
    "use_swanlab": "report_to: tensorboard, wandb or trackio",
    "use_unsloth": "attn_implementation and use_liger_kernel",
    "use_unsloth_gc": "gradient_checkpointing",
    "shift_attn": "attn_implementation",
    "fp8": "bf16",
    "use_mca": _MEGATRON,
    "use_megatron_bridge": _MEGATRON,
    "use_hyper_parallel": _MEGATRON,
    "ray_num_workers": "accelerate launch -m touchstone_rewards.trainer ... starts the processes",
    "train_device_id": "the environment variable CUDA_VISIBLE_DEVICES",
    "gen_device_id": "vllm_mode: server on the other device",
}
# Key -> the reason why it is not supported, where there is no replacement.
WITHOUT: Mapping[str, str] = {
    "tokenized_path": "rows are tokenized when training starts",
    "ref_model": "the reference policy is the initial model",
    "ref_model_adapters": "the reference policy is the initial model",
    "add_valuehead": "rm always trains a value head",
    "refresh_vllm_every": "vLLM gets the weights after every update",
    "pissa_init": "LoRA weights are initialized as in PEFT",
    "pissa_convert": "LoRA weights are initialized as in PEFT",
    "loraplus_lr_ratio": "both LoRA matrices use learning_rate",
    "use_kt": "the whole model stays on its devices",
    "use_llama_pro": "only LoRA and full training are supported",
    "mixture_of_depths": "the architecture is not changed",
    "media_dir": _TEXT_ONLY,
}
# Prefixes of keys that are not supported, with the reason.
WITHOUT_BY_PREFIX: Mapping[str, str] = {
    **dict.fromkeys(("image_", "video_", "audio_", "freeze_vision", "freeze_multi"), _TEXT_ONLY),
    "freeze_language": _TEXT_ONLY,
    "freeze_": "only LoRA and full training are supported",
    "pissa_": "LoRA weights are initialized as in PEFT",
    "loraplus_": "both LoRA matrices use learning_rate",
    "kt_": "the whole model stays on its devices",
}
# Prefixes of keys that are not supported, with a replacement.
INSTEAD_BY_PREFIX: Mapping[str, str] = {
    "oft_": "lora: lora_r and lora_target_modules",
    "galore_": "optim_args",
    "apollo_": "optim_args",
    "badam_": _OPTIMIZER,
    "swanlab_": "report_to: tensorboard, wandb or trackio",
    "asft_": "loss_type: nll or dft, in sft",
    "eaft_": "loss_type: nll or dft, in sft",
    "kto_": "dpo",
    "fp8_": "bf16",
    **dict.fromkeys(("tensor_model_", "pipeline_model_", "expert_model_"), _MEGATRON),
    **dict.fromkeys(("context_parallel_", "sequence_parallel", "recompute_"), _MEGATRON),
    **dict.fromkeys(("moe_grouped_", "moe_token_", "overlap_", "bias_activation_"), _MEGATRON),
    **dict.fromkeys(("use_distributed_", "apply_rope_", "use_packed_"), _MEGATRON),
    "ray_": "accelerate launch -m touchstone_rewards.trainer ... starts the processes",
    "export_": "`trainer merge`, which merges an adapter into its model",
    "vllm_": "`trainer eval --engine vllm`, or the vllm_* fields of grpo and ppo",
    "sglang_": "vllm_* fields of grpo and ppo",
}

# LLaMA-Factory's defaults, for `trainer run`.
DEFAULTS: Mapping[str, Any] = {
    "finetuning_type": "lora",
    "dataset_dir": "data",
    "cutoff_len": 2048,
    "learning_rate": 5e-5,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "linear",
    "logging_steps": 500,
    "save_steps": 500,
    "bf16": False,
    "disable_gradient_checkpointing": False,
    "output_dir": "trainer_output",
}
LORA_DEFAULTS: Mapping[str, Any] = {"lora_rank": 8, "lora_dropout": 0.0, "lora_target": "all"}
STAGE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dpo": {"pref_beta": 0.1, "pref_loss": "sigmoid"},
    # Those of TRL 0.9's PPO, which LLaMA-Factory uses: one response per prompt, an adaptive KL.
    "ppo": {
        "num_generations": 1,
        "ppo_epochs": 4,
        "ppo_target": 6.0,
        "kl_coef": 0.2,
        "temperature": 0.95,
        "top_p": 0.7,
        "top_k": 50,
        "max_new_tokens": 1024,
    },
}
