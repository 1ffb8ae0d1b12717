"""GRPO: TRL's trainer, settings beyond its fields, and the command."""
