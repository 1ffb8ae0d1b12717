"""Observers of rewards that never change them: hacking watch, shadow profiles, score log."""
