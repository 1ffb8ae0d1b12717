"""Select the prompts worth training on, from the samples that a training run kept.

`table.py` reads rewards from disk, `methods.py` scores and selects (pure), `page.py` draws,
`command.py` is `trainer lim`. Any trainer that writes JSON lines can provide the samples.
"""
