"""Trainers for language models whose rewards come from a reward server. Importing this is free."""
