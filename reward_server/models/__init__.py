"""Neural models: find, load, check and run them. A scorer's config says which one it needs.

`config.py` and `files.py` are light; the others import torch, when the first model is loaded.
"""

from __future__ import annotations

from importlib import import_module

from touchstone_rewards.reward_server.models.config import ModelConfig
from touchstone_rewards.reward_server.models.thread import Model


def load(config: ModelConfig) -> Model:
    """Load the model that `config` describes, check it, and return it ready to run.

    Raises:
        ConfigError: it cannot be served; the message says why and what to do.
    """
    module, _, function = config.loader.partition(":")
    return getattr(import_module(module), function)(config)
