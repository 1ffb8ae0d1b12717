"""Check that the same model keeps answering: another model would be another scorer."""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.remote.failed import UpstreamFailed

NAME_CHARS = 80


class ReportedModel:
    """Model name that answers must report: the configured one, or the first one seen."""

    def __init__(self, name: str | None, told: Callable[[str], str]) -> None:
        self.name = name
        self._said_by_config = name is not None
        self._told = told

    def check(self, name: object) -> None:
        """Check that an answer comes from the same model as before.

        Raises:
            UpstreamFailed: it comes from another model.
        """
        if self.name is None and isinstance(name, str):
            self.name = name
        if name != self.name and (name is not None or self._said_by_config):
            other, known = (self._told(str(each))[:NAME_CHARS] for each in (name, self.name))
            message = f"the endpoint answered as model {other!r} where {known!r} was expected"
            raise UpstreamFailed(message, retryable=False, answered=True)
