"""Scores what a language model wrote, over HTTP, for whoever trains it.

In: samples (`schemas.Sample`). Out: rewards with the scores behind them (`schemas.SampleResult`).
Knows nothing of training.
"""
