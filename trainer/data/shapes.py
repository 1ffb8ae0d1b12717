"""Read a conversation from a row in any known shape (ShareGPT, Alpaca, messages), for every
command.

A row becomes messages, or a prompt as text. Only the names of roles and columns are changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError

Row = Mapping[str, Any]
ChatTurn = dict[str, Any]

# Role names in datasets. A function call is the assistant's turn, with the JSON as its text.
ROLES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
    **dict.fromkeys(("function_call",), "assistant"),
    **dict.fromkeys(("observation", "tool", "function"), "tool"),
    "system": "system",
    "developer": "developer",
}
SHOWN_ROLES = "user or human, assistant or gpt, system, tool or observation"
OWN_NAMES = ("from", "value", "role", "content")


def message_of(turn: object) -> ChatTurn:
    """Return a turn, `{role, content}` or ShareGPT's `{from, value}`, as role and content.

    Other keys (tool calls, a name) are kept unless they are null.

    Example:
        message_of({"from": "human", "value": "1 + 1?"})  # {"role": "user", "content": "1 + 1?"}

    Raises:
        InputError: the value is not a turn, or its role is unknown.
    """
    if not isinstance(turn, Mapping):
        raise InputError(f"a turn must be an object with role and content, not {turn!r:.60}")
    name = turn.get("role") or turn.get("from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise InputError(f"unknown role {name!r} in a turn; known roles are {SHOWN_ROLES}")
    more = {key: each for key, each in turn.items() if each is not None and key not in OWN_NAMES}
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    return {"role": role, **({} if content is None else {"content": _joined(content)}), **more}


def _joined(content: object) -> Any:
    """Join a list of text parts into one text; return anything else unchanged."""
    if not isinstance(content, list):
        return content
    said = [part.get("text") or part.get("value") for part in content if isinstance(part, Mapping)]
    texts = [text for text in said if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(content) else content


def messages_of(turns: object) -> list[ChatTurn]:
    """Return a list of turns as messages; null gives an empty list.

    Raises:
        InputError: the value is not a list, or contains something that is not a turn.
    """
    if turns is not None and not isinstance(turns, list):
        raise InputError(f"expected a list of turns, not {turns!r:.60}")
    return [message_of(turn) for turn in turns or []]


def text_or_messages(value: object, name: str) -> str | list[ChatTurn]:
    """Return a text unchanged, and a turn or a list of turns as messages.

    Raises:
        InputError: the value is null, or neither.
    """
    if value is None:
        raise InputError(f"no {name} (null)")
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return [message_of(value)]
    if isinstance(value, list):
        return messages_of(value)
    raise InputError(f"{name} must be a text or a list of messages, not {type(value).__name__}")


def system_of(row: Row) -> list[ChatTurn]:
    """Return the system message of a row's column `system`; empty if it has none."""
    return [{"role": "system", "content": row["system"]}] if row.get("system") else []


def conversation(row: Row, column: str) -> list[ChatTurn]:
    """Return the turns in `column`, preceded by the row's system text unless they have their own.

    Raises:
        InputError: see `messages_of`.
    """
    messages = messages_of(row[column])
    own = bool(messages) and messages[0]["role"] == "system"
    return messages if own else system_of(row) + messages


def alpaca_messages(row: Row) -> list[ChatTurn]:
    """Return the system text, history and instruction of an Alpaca row as messages, without its
    answer.

    Raises:
        InputError: the row has no instruction.
    """
    messages = system_of(row)
    for question, answer in row.get("history") or []:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
    if not question.strip():
        raise InputError("an empty instruction")
    return [*messages, {"role": "user", "content": question}]


def alpaca_text(row: Row) -> str:
    """Return the same as one text that a response can follow, for models without a chat template.

    Source: the prompt of tatsu-lab/stanford_alpaca, without its first sentence.
    """
    parts = [f"{row['system']}\n\n"] if row.get("system") else []
    for question, answer in row.get("history") or []:
        parts.append(f"### Instruction:\n{question}\n\n### Response:\n{answer}\n\n")
    named = [("Instruction", row["instruction"]), ("Input", row.get("input"))]
    parts += [f"### {title}:\n{text}\n\n" for title, text in named if text]
    if not (row["instruction"] or row.get("input")):
        raise InputError("an empty instruction")
    return "".join(parts) + "### Response:\n"


def unused_columns(rows: Dataset, used: Iterable[str]) -> str:
    """Return `; not used: a, b` for the text columns that are not in `used`; empty if there are
    none."""
    left = set(rows.column_names) - set(used)
    names = [name for name in rows.column_names if name in left and _holds_text(rows, name)]
    return f"; not used: {', '.join(names)}" if names else ""


def _holds_text(rows: Dataset, name: str) -> bool:
    feature = str(rows.features[name])
    return "string" in feature or "Json" in feature
