"""What an endpoint's answer to `/chat/completions` has: its text, its tokens, the model's name.

In: a decoded answer. Out: what it says, or why it cannot be used. A model that answers under
another name than before is another one.
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
    """Reads the answers of one model. `model`: the name that they bear, None before the first."""

    def __init__(self, transport: UpstreamTransport, expected: str | None) -> None:
        self.transport = transport
        self._reported = ReportedModel(expected, transport.told)

    @property
    def model(self) -> str | None:
        return self._reported.name

    def text(self, answer: dict[str, Any], max_tokens: int) -> str:
        """Return the text of an answer that came to its end.

        Raises:
            UpstreamFailed: the answer is of another shape or by another model.
            NoVerdict: it was cut off.
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
        """Return what could have been the first token of an answer, with log-probabilities.

        Raises:
            UpstreamFailed: it has none, or is by another model.
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
    """Return the tokens of prompt and completion as the endpoint counts them; 0 where it does
    not."""
    usage = answer.get("usage")
    found = [usage.get(name) if is_object(usage) else 0 for name in _COUNTS]
    numbers = [n if type(n) is int and 0 <= n < 2**40 else 0 for n in found]
    return numbers[0], numbers[1]
