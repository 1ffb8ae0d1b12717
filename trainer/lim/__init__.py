"""Which prompts were worth learning from, read off the samples that a training run kept.

`table.py` reads rewards from disk, `methods.py` scores and selects (pure), `page.py` draws,
`command.py` is `trainer lim`. It works on the samples of any trainer that writes JSON lines.
"""
