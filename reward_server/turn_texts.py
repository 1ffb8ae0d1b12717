"""The text of chat turns: their content and their tool calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from touchstone_rewards.reward_server.schemas import Message, is_object, text_of_turn

# A tag inside a call's arguments would end the block that holds the call, so it is escaped.
_TAG = re.compile(r"<(?=/?tool_call>)")


def text_of_message(turn: Message) -> str:
    """Return a turn's text, followed by each of its `tool_calls` as Qwen's template writes them.

    Example:
        >>> text_of_message(Message("assistant", None, [{"function": {"name": "f"}}]))
        '<tool_call>\\n{"name":"f"}\\n</tool_call>'
    """
    text = text_of_turn(turn.content)
    calls = [f"<tool_call>\n{_as_json(call)}\n</tool_call>" for call in turn.tool_calls or ()]
    return "\n".join([text, *calls] if text else calls)


def _as_json(call: Any) -> str:
    inner = call.get("function", call) if is_object(call) else call
    known = ("name", "arguments", "parameters")
    told = {key: inner[key] for key in known if key in inner} if is_object(inner) else inner
    return _TAG.sub(r"\\u003c", msgspec.json.encode(told).decode())


def assistant_texts(messages: Sequence[Message]) -> list[str]:
    """Return the text of each assistant message, in order."""
    return [text_of_message(turn) for turn in messages if turn.role == "assistant"]


def response_text(response: str | list[Message]) -> str:
    """Return the text of a response; of a list of messages, the text of the last assistant message,
    or "" if there is none.

    Example:
        >>> response_text([Message("assistant", "Let me see."), Message("assistant", "46")])
        '46'
    """
    if isinstance(response, str):
        return response
    return next(reversed(assistant_texts(response)), "")
