"""Reward functions for other trainers, one file per trainer."""
