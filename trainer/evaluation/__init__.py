"""`trainer eval`: responses of a model, scored by the reward server, in figures with intervals.

`command.py` reads top to bottom · `known_sets.py` GSM8K and MATH-500 · `generation.py` responses by
transformers or vLLM · `generated.py` keeps them · `votes.py` which answers are the same ·
`at_k.py` pass@k and maj@k · `figures.py` rates and means · `write.py` the files and the table
"""
