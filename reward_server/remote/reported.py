"""The name of the model that answers: another one than before would be another scorer."""

from __future__ import annotations

from collections.abc import Callable

from touchstone_rewards.reward_server.remote.failed import UpstreamFailed

NAME_CHARS = 80


class ReportedModel:
    """The `name` that answers must bear: that of the config, or the first one seen."""

    def __init__(self, name: str | None, told: Callable[[str], str]) -> None:
        self.name = name
        self._said_by_config = name is not None
        self._told = told

    def check(self, name: object) -> None:
        """See that the same model answers as before.

        Raises:
            UpstreamFailed: it does not.
        """
        if self.name is None and isinstance(name, str):
            self.name = name
        if name != self.name and (name is not None or self._said_by_config):
            other, known = (self._told(str(each))[:NAME_CHARS] for each in (name, self.name))
            message = f"the endpoint answered as model {other!r} where {known!r} was expected"
            raise UpstreamFailed(message, retryable=False, answered=True)
