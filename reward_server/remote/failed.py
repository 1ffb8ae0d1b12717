"""Why an endpoint gave no usable answer."""

from __future__ import annotations


class UpstreamFailed(Exception):
    """An endpoint gave no usable answer; `retryable`: it may give one if asked again. `answered`:
    it did the work. `undecided`: what it said is no verdict."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        answered: bool = False,
        undecided: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.answered = answered
        self.undecided = undecided


class BodyRefused(UpstreamFailed):
    """An endpoint refuses what it was sent, and may take another body."""


class AnswerTooLarge(UpstreamFailed):
    """An endpoint answered with more than is read of an answer."""
