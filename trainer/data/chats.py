"""Render prompts as the model reads them; a chat may end with the beginning of the response.

Prompts are texts or chats. If the last message of a chat is the assistant's, the model continues
that message instead of answering it. Training and evaluation both render prompts here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from touchstone_rewards.trainer.errors import InputError

ChatOrPrompt = str | list[dict[str, Any]]


def begun(prompt: ChatOrPrompt, prefill: str) -> ChatOrPrompt:
    """Return the prompt with the first words of the response: appended to a text, or as a message.

    Example:
        >>> begun([{"role": "user", "content": "1 + 1?"}], "It is")[-1]
        {'role': 'assistant', 'content': 'It is'}
    """
    if isinstance(prompt, str):
        return prompt + prefill
    before, already = split_begun(prompt)
    return [*before, {"role": "assistant", "content": already + prefill}]


def split_begun(chat: Sequence[Mapping[str, object]]) -> tuple[list[dict[str, object]], str]:
    """Split a chat into the messages before the assistant's last turn and the beginning of that
    turn.

    The second value is empty if the chat does not end with the assistant.
    """
    turns = [dict(turn) for turn in chat]
    if not turns or turns[-1]["role"] != "assistant":
        return turns, ""
    return turns[:-1], str(turns[-1].get("content") or "")


def is_begun(prompt: object) -> bool:
    """Return whether `prompt` is a chat whose last message is the assistant's."""
    return isinstance(prompt, list) and bool(prompt) and prompt[-1]["role"] == "assistant"


def rendered(
    tokenizer: Any, prompt: ChatOrPrompt, template: Mapping[str, Any] | None = None
) -> str:
    """Return the text that the model reads; `template` holds arguments for the chat template.

    Raises:
        InputError: the prompt is a chat, and the tokenizer has no chat template.
    """
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        raise InputError(
            "the prompts are chats, but the model has no chat template: give one with "
            "--chat_template (chatml, or a .jinja file), or make the prompts plain text with "
            "--prompt_template"
        )
    turns, prefill = split_begun(prompt)
    given = template or {}
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **given)
    return text + prefill


def prompt_tokens(
    tokenizer: Any, prompt: ChatOrPrompt, template: Mapping[str, Any] | None = None
) -> list[int]:
    """Return the tokens that the model reads; a chat template adds the special tokens itself."""
    text = rendered(tokenizer, prompt, template)
    return tokenizer(text, add_special_tokens=isinstance(prompt, str), verbose=False)["input_ids"]
