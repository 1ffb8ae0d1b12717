"""Scorers that see all responses to one prompt together: a file each."""
