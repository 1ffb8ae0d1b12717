"""Errors of endpoints that gave no usable answer."""

from __future__ import annotations


class UpstreamFailed(Exception):
    """An endpoint gave no usable answer.

    `retryable`: another request may succeed. `answered`: the endpoint did the work. `undecided`:
    its answer contains no verdict.
    """

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
    """An endpoint refused the request body and may accept another one."""


class AnswerTooLarge(UpstreamFailed):
    """An endpoint's answer exceeded the size limit."""
