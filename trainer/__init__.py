"""Trainers for language models whose rewards come from a reward server. This package imports
nothing."""
