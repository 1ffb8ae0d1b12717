"""The shapes of supervised data: recognised, and made into what TRL's SFT reads.

In: rows as `{prompt, response}`, `{prompt, completion}`, `{messages}`, ShareGPT
`{system, conversations}`, Alpaca `{instruction, input, output}`, `{question, answer}` or `{text}`.
Out: `prompt` and `completion`, one row for each response, so that only responses are learnt; or,
where the loss goes over whole conversations, `messages`. It tokenizes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from datasets import Dataset

from touchstone_rewards.trainer.data.chats import split_begun
from touchstone_rewards.trainer.data.rows import is_empty
from touchstone_rewards.trainer.errors import InputError

Row = Mapping[str, Any]
Message = dict[str, Any]
Reader = Callable[[Row], Iterator[dict[str, Any]]]
Scope = Literal["responses", "all", "marked"]

SCOPES = {
    "responses": "responses only",
    "all": "all tokens",
    "marked": "what the chat template marks as the assistant's",
}

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}
KEPT = ("tools", "chat_template_kwargs")


class Shape(NamedTuple):
    """`needs`: the columns that tell it. `chat`, `plain`: how a row is read with a chat template
    and without one; TRL reads it itself where there is neither."""

    name: str
    needs: frozenset[str]
    chat: Callable[[Row], list[Message]] | None = None
    plain: Reader | None = None


def sft_rows(rows: Dataset, *, has_template: bool, scope: Scope) -> tuple[Dataset, str]:
    """The rows for TRL, and a line that says what they were taken for.

    `has_template`: can the tokenizer render a chat?

    Raises:
        InputError: no shape that is known, a response is empty, or there is no chat template.
    """
    shape = recognise(rows)
    if shape.chat and has_template:
        read, how = _turns(shape.chat, whole=scope != "responses"), "by the chat template"
    elif shape.plain:
        read, how = shape.plain, "as they stand"
    elif shape.chat:
        raise InputError(
            f"the data are conversations ({shape.name}), but the tokenizer has no chat template: "
            "set chat_template_path to a .jinja file or to a model that has one"
        )
    else:
        return rows, f"data: {shape.name}, {len(rows)} rows; loss on all tokens"
    made = _converted(rows, read)
    line = f"data: {shape.name}, {how}; {len(rows)} rows, {len(made)} to train on"
    return made, f"{line}; loss on {SCOPES[scope]}"


def _converted(rows: Dataset, read: Reader) -> Dataset:
    kept = [name for name in KEPT if name in rows.column_names]

    def convert(batch: dict[str, list[Any]], places: list[int]) -> dict[str, list[Any]]:
        made: list[dict[str, Any]] = []
        for at, place in enumerate(places):
            row = {name: column[at] for name, column in batch.items()}
            try:
                made += [{**each, **{name: row[name] for name in kept}} for each in read(row)]
            except InputError as error:
                raise InputError(f"row {place}: {error}") from error
        return {name: [each[name] for each in made] for name in made[0]}

    columns = rows.column_names
    return rows.map(
        convert, batched=True, with_indices=True, remove_columns=columns, desc="Reading rows"
    )


def recognise(rows: Dataset) -> Shape:
    """The first known shape whose columns the rows have.

    Raises:
        InputError: none; the message lists the columns that there are, and those of every shape.
    """
    for shape in SHAPES:
        if shape.needs <= set(rows.column_names):
            return shape
    known = "; ".join(" and ".join(sorted(shape.needs)) for shape in SHAPES)
    raise InputError(f"SFT reads the columns {known}; the data has {rows.column_names}")


def _prompt_and_response(row: Row) -> Iterator[dict[str, Any]]:
    prompt, response = row["prompt"], row.get("response", row.get("completion"))
    if is_empty(response):
        raise InputError("an empty response: take the row out")
    if isinstance(prompt, list) and isinstance(response, str):
        # What is begun of the assistant's turn is a part of it.
        prompt, begun = split_begun(prompt)
        response = begun + response
        response = [{"role": "assistant", "content": response}]
    if type(prompt) is not type(response) or not isinstance(prompt, str | list):
        kinds = f"{type(prompt).__name__} and {type(response).__name__}"
        raise InputError(f"prompt and response are texts or lists of messages, not {kinds}")
    yield {"prompt": prompt, "completion": response}


def _turns(read: Callable[[Row], list[Message]], whole: bool) -> Reader:
    """For each response of a conversation a row: what went before, and the response."""

    def split(row: Row) -> Iterator[dict[str, Any]]:
        messages = [{k: v for k, v in each.items() if v is not None} for each in read(row)]
        places = [n for n, each in enumerate(messages) if each["role"] == "assistant"]
        if not places:
            raise InputError("a conversation without a turn of the assistant: take the row out")
        for place in places:
            if is_empty(messages[place].get("content")) and "tool_calls" not in messages[place]:
                raise InputError("an empty response: take the row out")
            if not whole:
                yield {"prompt": messages[:place], "completion": [messages[place]]}
        if whole:
            yield {"messages": messages}

    return split


def _messages(row: Row) -> list[Message]:
    return row["messages"] or []


def _sharegpt(row: Row) -> list[Message]:
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for turn in row["conversations"] or []:
        role = turn.get("from", turn.get("role"))
        if role not in ROLES:
            raise InputError(f"a turn from {role!r}; known are {', '.join(ROLES)}")
        messages.append({"role": ROLES[role], "content": turn.get("value", turn.get("content"))})
    return messages


def _alpaca(row: Row) -> list[Message]:
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for question, answer in row.get("history") or []:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    question = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
    messages.append({"role": "user", "content": question})
    return [*messages, {"role": "assistant", "content": row["output"]}]


def _alpaca_text(row: Row) -> Iterator[dict[str, Any]]:
    parts = [("Instruction", row["instruction"]), ("Input", row.get("input"))]
    prompt = "".join(f"### {title}:\n{text}\n\n" for title, text in parts if text)
    if is_empty(row["output"]):
        raise InputError("an empty response: take the row out")
    yield {"prompt": f"{prompt}### Response:\n", "completion": row["output"]}


def _answered(question: str, answer: str) -> tuple[Callable[[Row], list[Message]], Reader]:
    """How rows of a question and an answer are read: as a chat, and without a chat template."""

    def chat(row: Row) -> list[Message]:
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        asked = {"role": "user", "content": row[question]}
        return [*system, asked, {"role": "assistant", "content": row[answer]}]

    def plain(row: Row) -> Iterator[dict[str, Any]]:
        if is_empty(row[answer]):
            raise InputError("an empty response: take the row out")
        yield {"prompt": f"{row[question]}\n", "completion": str(row[answer])}

    return chat, plain


SHAPES = (
    Shape("prompt and response", frozenset({"prompt", "response"}), plain=_prompt_and_response),
    Shape("prompt and completion", frozenset({"prompt", "completion"}), plain=_prompt_and_response),
    Shape("messages", frozenset({"messages"}), chat=_messages),
    Shape("ShareGPT", frozenset({"conversations"}), chat=_sharegpt),
    Shape("Alpaca", frozenset({"instruction", "output"}), chat=_alpaca, plain=_alpaca_text),
    Shape(
        "question and answer",
        frozenset({"question", "answer"}),
        *_answered("question", "answer"),
    ),
    Shape(
        "problem and solution",
        frozenset({"problem", "solution"}),
        *_answered("problem", "solution"),
    ),
    Shape("text", frozenset({"text"})),
)
