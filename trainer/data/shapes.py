"""The shapes in which rows hold a conversation: ShareGPT, Alpaca, messages; for every command.

In: one row of a data set. Out: its messages, or its prompt as a text. It knows no trainer, and
changes nothing but names: who speaks, and where the text stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import Dataset

from touchstone_rewards.trainer.errors import InputError

Row = Mapping[str, Any]
ChatTurn = dict[str, Any]

# Who speaks, as data sets call it. A call of a function is the assistant's, its JSON the text.
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
    """A turn, `{role, content}` or ShareGPT's `{from, value}`, as role and content.

    What else it holds (calls of tools, a name) stays; what is null goes.

    Example:
        message_of({"from": "human", "value": "1 + 1?"})  # {"role": "user", "content": "1 + 1?"}

    Raises:
        InputError: it is no turn, or nobody knows who speaks.
    """
    if not isinstance(turn, Mapping):
        raise InputError(f"a turn is an object with role and content, not {turn!r:.60}")
    name = turn.get("role") or turn.get("from")
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise InputError(f"a turn from {name!r}; known are {SHOWN_ROLES}")
    more = {key: each for key, each in turn.items() if each is not None and key not in OWN_NAMES}
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    return {"role": role, **({} if content is None else {"content": _joined(content)}), **more}


def _joined(content: object) -> Any:
    """Parts that are all texts as one text; anything else as it is."""
    if not isinstance(content, list):
        return content
    said = [part.get("text") or part.get("value") for part in content if isinstance(part, Mapping)]
    texts = [text for text in said if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(content) else content


def messages_of(turns: object) -> list[ChatTurn]:
    """All turns of a list of them; of null none.

    Raises:
        InputError: one of them is none, or it is no list.
    """
    if turns is not None and not isinstance(turns, list):
        raise InputError(f"a list of turns is expected, not {turns!r:.60}")
    return [message_of(turn) for turn in turns or []]


def text_or_messages(value: object, name: str) -> str | list[ChatTurn]:
    """A text as it is; a turn, or a list of turns, as messages.

    Raises:
        InputError: it is null, or neither.
    """
    if value is None:
        raise InputError(f"no {name} (null)")
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return [message_of(value)]
    if isinstance(value, list):
        return messages_of(value)
    raise InputError(f"{name} is a text or a list of messages, not {type(value).__name__}")


def system_of(row: Row) -> list[ChatTurn]:
    """The message of the column `system`, if the row says anything there."""
    return [{"role": "system", "content": row["system"]}] if row.get("system") else []


def conversation(row: Row, column: str) -> list[ChatTurn]:
    """The turns in `column`; the system text of the row leads where they have none of their own.

    Raises:
        InputError: see `messages_of`.
    """
    messages = messages_of(row[column])
    own = bool(messages) and messages[0]["role"] == "system"
    return messages if own else system_of(row) + messages


def alpaca_messages(row: Row) -> list[ChatTurn]:
    """System, history and instruction of an Alpaca row: all but its answer.

    Raises:
        InputError: it has no instruction.
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
    """The same as a text that a response follows, for a model without a chat template.

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
    """`; not used: a, b` for the columns that hold text and are none of `used`; else nothing."""
    left = set(rows.column_names) - set(used)
    names = [name for name in rows.column_names if name in left and _holds_text(rows, name)]
    return f"; not used: {', '.join(names)}" if names else ""


def _holds_text(rows: Dataset, name: str) -> bool:
    feature = str(rows.features[name])
    return "string" in feature or "Json" in feature
