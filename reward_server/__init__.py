"""Score the responses of a language model over HTTP, for any trainer.

Input: samples (`schemas.Sample`). Output: rewards and the scores behind them
(`schemas.SampleResult`). This package knows nothing of training.
"""
