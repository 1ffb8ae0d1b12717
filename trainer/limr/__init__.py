"""LIMR: PPO that keeps its samples, selection of prompts, and training on the selection.

`arguments.py` is the `limr:` section of a config, `command.py` is `trainer limr`, `verdict.py`
summarizes its results in words.
"""
