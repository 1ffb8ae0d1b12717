"""The evaluation inside a GRPO run: TRL's own, but greedy, so that its curve is of the model alone.

In: TRL's trainer. Out: rollouts without chance for as long as a block runs. How often, and on which
rows, TRL's `eval_*` fields say; what is logged stands in `rewards.py`.
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
    """Rollouts take the likeliest token each, by either engine of TRL; training's chance is kept.

    Without the latter a run that is measured would sample other responses than one that is not:
    every pass through a data loader draws from torch's generator.
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
