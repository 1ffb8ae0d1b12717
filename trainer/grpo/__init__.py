"""GRPO: TRL's trainer, what can be chosen beyond its fields, and the command around it."""
