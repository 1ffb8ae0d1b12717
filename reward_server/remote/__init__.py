"""Endpoints that score for us: how they are reached, and what is made of their answers."""
