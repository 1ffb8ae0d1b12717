"""PPO on TRL's GRPO hooks: `core.py` is the arithmetic, `value_head.py` the critic, `trainer.py`
the trainer, `command.py` is `trainer ppo`."""
