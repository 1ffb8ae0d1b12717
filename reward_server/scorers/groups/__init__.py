"""Scorers that see all responses to one prompt together, one per file."""
