"""Check overrides of verl's command line against its own configuration: verl_overrides.py OVERRIDE
…
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path

sys.path.remove(str(Path(__file__).parent))  # where `verl` is a script

from hydra import compose, initialize_config_dir  # pyright: ignore[reportMissingImports]
from omegaconf import OmegaConf  # pyright: ignore[reportMissingImports]

with initialize_config_dir(str(files("verl.trainer") / "config"), version_base=None):
    config = compose("ppo_trainer", overrides=sys.argv[1:])
print(json.dumps(OmegaConf.to_container(config.reward.custom_reward_function)))
