"""Preference pairs, DPO and reward models."""
