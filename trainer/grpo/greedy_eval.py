"""Greedy evaluation inside a GRPO run, so that its curve does not depend on sampling noise.

TRL's `eval_*` fields set how often and on which rows; `rewards.py` logs the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from trl.trainer.grpo_trainer import GRPOTrainer

GREEDY: dict[str, Any] = {
    "do_sample": False,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "min_p": None,
}


@contextmanager
def greedy(trainer: GRPOTrainer) -> Iterator[None]:
    """Make rollouts greedy inside the block, with either engine of TRL.

    The training RNG state is restored afterwards: every pass through a data loader draws from
    torch's generator, so without this an evaluated run would sample other responses than an
    unevaluated one.
    """
    with torch.random.fork_rng(devices=[]):
        if trainer.use_vllm:
            engine: Any = trainer.vllm_generation
            sampling, engine.temperature = engine.temperature, 0.0
            try:
                yield
            finally:
                engine.temperature = sampling
            return
        config, fields = trainer.generation_config, trainer.generation_kwargs
        trainer.generation_config = deepcopy(config)
        trainer.generation_config.update(**GREEDY)
        trainer.generation_kwargs = {**fields, **GREEDY}
        try:
            yield
        finally:
            trainer.generation_config, trainer.generation_kwargs = config, fields
