"""PPO on TRL's GRPO hooks: arithmetic (`core.py`), critic (`value_head.py`), trainer (`trainer.py`)
and command (`command.py`)."""
