"""PPO that keeps its samples, selection of the prompts worth learning from, training on those.

`arguments.py` is the `limr:` section of a config, `command.py` is `trainer limr`, `stages.py` runs
its stages as commands that can be killed, `study.py` compares the selection with others.
"""
