"""Read a `/chat/completions` answer: its text, token counts and model name.

An answer from another model than before is refused.
"""

from __future__ import annotations

from typing import Any

from msgspec import json

from touchstone_rewards.reward_server.remote.reported import ReportedModel
from touchstone_rewards.reward_server.remote.transport import UpstreamTransport
from touchstone_rewards.reward_server.remote.verdicts import NoVerdict
from touchstone_rewards.reward_server.schemas import is_list, is_object

_COUNTS = ("prompt_tokens", "completion_tokens")


class ChatAnswers:
    """Reader for the answers of one model. `model`: its name, None before the first answer."""

    def __init__(self, transport: UpstreamTransport, expected: str | None) -> None:
        self.transport = transport
        self._reported = ReportedModel(expected, transport.told)

    @property
    def model(self) -> str | None:
        return self._reported.name

    def text(self, answer: dict[str, Any], max_tokens: int) -> str:
        """Return the text of a complete answer.

        Raises:
            UpstreamFailed: the answer has another shape or comes from another model.
            NoVerdict: the answer was cut off.
        """
        choice = self._choice(answer)
        message = choice.get("message")
        content = message.get("content") if is_object(message) else None
        if not isinstance(content, str):
            raise self.transport.misshapen(json.encode(answer), "no text in one choice")
        self._reported.check(answer.get("model"))
        if choice.get("finish_reason") == "length":
            raise NoVerdict(f"it was cut off at max_tokens {max_tokens}")
        return self.transport.told(content)

    def first_tokens(self, answer: dict[str, Any]) -> list[Any]:
        """Return the candidates for the first token, with log-probabilities.

        Raises:
            UpstreamFailed: the answer has none, or comes from another model.
        """
        found: Any = self._choice(answer).get("logprobs")
        for key in ("content", 0, "top_logprobs"):
            if isinstance(key, int):
                found = found[key] if is_list(found) and found else None
            else:
                found = found.get(key) if is_object(found) else None
        if not is_list(found) or not found:
            what = "no choices[0].logprobs.content[0].top_logprobs"
            raise self.transport.misshapen(json.encode(answer), what)
        self._reported.check(answer.get("model"))
        return [self._told(each) for each in found]

    def _told(self, token: Any) -> Any:
        text = token.get("token") if is_object(token) else None
        return token | {"token": self.transport.told(text)} if isinstance(text, str) else token

    def _choice(self, answer: dict[str, Any]) -> dict[str, Any]:
        choices = answer.get("choices")
        choice = choices[0] if is_list(choices) and len(choices) == 1 else None
        if not is_object(choice):
            raise self.transport.misshapen(json.encode(answer), "no text in one choice")
        return choice


def tokens_used(answer: dict[str, Any]) -> tuple[int, int]:
    """Return (prompt tokens, completion tokens) as counted by the endpoint; 0 if not reported."""
    usage = answer.get("usage")
    found = [usage.get(name) if is_object(usage) else 0 for name in _COUNTS]
    numbers = [n if type(n) is int and 0 <= n < 2**40 else 0 for n in found]
    return numbers[0], numbers[1]
