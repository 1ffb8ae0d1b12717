"""Prompts as the model reads them: chats through the template, the assistant's turn begun for it.

In: prompts, texts or messages. Out: texts and tokens. A chat whose last message is the assistant's
is begun: the model goes on in that message, it does not answer it. Training and evaluation both
read prompts by this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from touchstone_rewards.trainer.errors import InputError

ChatOrPrompt = str | list[dict[str, Any]]


def begun(prompt: ChatOrPrompt, prefill: str) -> ChatOrPrompt:
    """The prompt with the first words of the response: a text goes on, a chat gets a message.

    Example:
        >>> begun([{"role": "user", "content": "1 + 1?"}], "It is")[-1]
        {'role': 'assistant', 'content': 'It is'}
    """
    if isinstance(prompt, str):
        return prompt + prefill
    before, already = split_begun(prompt)
    return [*before, {"role": "assistant", "content": already + prefill}]


def split_begun(chat: Sequence[Mapping[str, object]]) -> tuple[list[dict[str, object]], str]:
    """The messages up to the assistant's turn, and what is begun of it: nothing in most chats."""
    turns = [dict(turn) for turn in chat]
    if not turns or turns[-1]["role"] != "assistant":
        return turns, ""
    return turns[:-1], str(turns[-1].get("content") or "")


def is_begun(prompt: object) -> bool:
    """Whether this is a chat whose last message is the assistant's."""
    return isinstance(prompt, list) and bool(prompt) and prompt[-1]["role"] == "assistant"


def rendered(
    tokenizer: Any, prompt: ChatOrPrompt, template: Mapping[str, Any] | None = None
) -> str:
    """The text that the model reads; `template` goes to the chat template.

    Raises:
        InputError: it is a chat, and the tokenizer has no template for one.
    """
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        raise InputError(
            "the prompts are chats, but the model has no chat template: give one by "
            "--chat_template (chatml, or a .jinja file), or make the prompts plain text by "
            "--prompt_template"
        )
    turns, prefill = split_begun(prompt)
    given = template or {}
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **given)
    return text + prefill


def prompt_tokens(
    tokenizer: Any, prompt: ChatOrPrompt, template: Mapping[str, Any] | None = None
) -> list[int]:
    """The tokens that the model reads. A chat template writes the special tokens itself."""
    text = rendered(tokenizer, prompt, template)
    return tokenizer(text, add_special_tokens=isinstance(prompt, str), verbose=False)["input_ids"]
