"""Neural models: found, loaded, checked and run. Scorers say which one they need by its config.

`config.py` and `files.py` are light; the others import torch, when the first model is loaded.
"""
