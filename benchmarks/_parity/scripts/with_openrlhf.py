"""Run OpenRLHF's rollout actor, sample generator and experience maker; report `Experience.rewards`
and the result of `compute_advantages_and_returns`.

An engine that returns the samples' responses replaces vLLM; deepspeed and flash-attn are mocks. The
actor sends each query with its prompt and label. It is started once, so a profile that routes by a
key of the label selects the part's profile.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch
from held import POLICY, URL, Lookup, run, told
from ray_started import start_ray  # pyright: ignore[reportMissingImports]
from transformers import AutoTokenizer

GROUP = 4
engines: Any = importlib.import_module("openrlhf.trainer.ray.vllm_engine")
Generator: Any = importlib.import_module(
    "openrlhf.trainer.ppo_utils.samples_generator"
).SamplesGenerator
Maker: Any = importlib.import_module(
    "openrlhf.trainer.ppo_utils.experience_maker"
).RemoteExperienceMaker
tokenizer = AutoTokenizer.from_pretrained(POLICY)
start_ray()


engine = engines.RolloutRayActor.options(num_cpus=1, num_gpus=0).remote(
    model=POLICY,
    seed=1,
    num_gpus=0,
    distributed_executor_backend="uni",
    remote_rm_url=[f"{URL}/compat/openrlhf/get_reward?profile=every"],
)


def spaces(fields: dict[str, Any]) -> Any:
    """Convert nested dicts to namespaces, as OpenRLHF's arguments are."""
    return SimpleNamespace(
        **{name: spaces(each) if isinstance(each, dict) else each for name, each in fields.items()}
    )


def arguments(prompts: int) -> Any:
    return spaces(
        {
            "rollout": {
                "batch_size": prompts,
                "n_samples_per_prompt": GROUP,
                "vllm_generate_batch_size": None,
            },
            "vllm": {"enable_sleep": False},
            "algo": {
                "dynamic_filtering_enable": False,
                "dynamic_filtering_range": (0, 1),
                "advantage": {
                    "is_correction_enable": False,
                    "is_correction_level": "off",
                    "estimator": "group_norm",
                    "gamma": 1.0,
                    "lambd": 1.0,
                    "no_std_norm": False,
                },
            },
            "reward": {
                "clip_range": (-10, 10),
                "overlong_buffer_len": None,
                "overlong_penalty_factor": 1.0,
                "stop_properly_penalty_coef": None,
            },
            "train": {"dynamic_batch_enable": False},
        }
    )


def hold(part: dict[str, Any]) -> dict[str, Any]:
    lookup = Lookup(part["samples"])
    rows = [
        (
            ["sums"],
            [
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": row["prompt"]}],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            ],
            [label(row, part["profile"])],
            [None],
        )
        for row in lookup.rows.values()
    ]
    strategy = SimpleNamespace(args=arguments(len(rows)))
    made, *_ = Generator(strategy, rows, None, tokenizer, [engine]).generate_samples(
        max_new_tokens=1024, temperature=1.0, max_len=2048
    )
    names = [name_of(each, lookup) for each in made]
    held = {
        name: each.rewards.item()
        for name, each in zip(names, made, strict=True)
        if each.rewards is not None
    }
    kinds = {str(each.rewards.dtype) for each in made if each.rewards is not None}
    kind = kinds.pop().removeprefix("torch.") if kinds else "float32"
    return told(kind, held, then=then(made, strategy))


def label(row: Mapping[str, Any], profile: str) -> str:
    """Return a label with the ground truth and the metadata."""
    about = {"ground_truth": row["ground_truth"], "scored_by": profile}
    return json.dumps({**about, **row["metadata"]})


def name_of(experience: Any, lookup: Lookup) -> str:
    ids = experience.sequences[0][-int(experience.response_length[0]) :]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return lookup.id_of(experience.prompts[0], text)


def then(made: list[Any], strategy: Any) -> str:
    """Describe the experience maker's result for these rewards."""
    missing = sum(each.rewards is None for each in made)
    for place, each in enumerate(made):
        each.index, each.kl = [place], torch.zeros(each.action_mask.shape)
    maker = Maker(None, None, None, None, SimpleNamespace(value=0.0), strategy, tokenizer)
    try:
        done = maker.compute_advantages_and_returns(made)
    except Exception as error:  # noqa: BLE001  an error caused by a null goes into the report
        return f"{missing} of {len(made)} rewards are None, then {type(error).__name__}: {error}"
    advantages = [round(float(each.advantages[0, -1]), 3) for each in done[:GROUP]]
    return f"advantages {advantages}"


run(version("openrlhf"), hold)
