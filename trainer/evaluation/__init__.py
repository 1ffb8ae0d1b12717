"""`trainer eval`: generate responses, score them with the reward server, report with intervals.

`command.py` reads top to bottom · `known_sets.py` GSM8K and MATH-500 · `generation.py` responses by
transformers or vLLM · `generated.py` stores them · `votes.py` groups equal answers · `at_k.py`
pass@k and maj@k · `figures.py` rates and means · `write.py` files and table
"""
