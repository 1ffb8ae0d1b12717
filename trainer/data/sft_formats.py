"""The shapes of supervised data: recognised, and made into what TRL's SFT reads.

In: rows as `{prompt, response}`, `{prompt, completion}`, `{messages}`, ShareGPT
`{system, conversations}`, Alpaca `{instruction, input, output}`, `{question, answer}` or `{text}`.
Out: `prompt` and `completion`, one row for each response, so that only responses are learnt; or,
where the loss goes over whole conversations, `messages`. It tokenizes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from datasets import Dataset

from touchstone_rewards.trainer.data.bad_rows import OneForm, Reader, read_rows
from touchstone_rewards.trainer.data.chats import split_begun
from touchstone_rewards.trainer.data.rows import ID_COLUMNS, ensure_sample_ids, is_empty
from touchstone_rewards.trainer.data.shapes import (
    ChatTurn,
    Row,
    alpaca_messages,
    alpaca_text,
    conversation,
    text_or_messages,
    unused_columns,
)
from touchstone_rewards.trainer.errors import InputError

Scope = Literal["responses", "all", "marked"]

SCOPES = {
    "responses": "responses only",
    "all": "all tokens",
    "marked": "what the chat template marks as the assistant's",
}
KEPT = ("tools", "chat_template_kwargs")


class Shape(NamedTuple):
    """`needs`: the columns that tell it; `may`: those that it reads besides. `chat`, `plain`: how a
    row is read with a chat template and without one; TRL reads it itself where there is neither."""

    name: str
    needs: frozenset[str]
    may: tuple[str, ...] = ()
    chat: Callable[[Row], list[ChatTurn]] | None = None
    plain: Reader | None = None


def sft_rows(
    rows: Dataset, *, has_template: bool, scope: Scope, skip_bad_rows: bool = False
) -> tuple[Dataset, str]:
    """The rows for TRL, each with the `id` of its row, and a line that says what they were taken
    for and which columns with text are not used.

    `has_template`: can the tokenizer render a chat?

    Raises:
        InputError: no shape that is known, a response is empty, or there is no chat template.
    """
    shape = recognise(rows)
    unused = unused_columns(rows, [*shape.needs, *shape.may, *KEPT, *ID_COLUMNS])
    rows = ensure_sample_ids(rows)
    if scope == "marked" and not (shape.chat and has_template):
        raise InputError(
            f"assistant_only_loss is for conversations with a chat template; the data are "
            f"{shape.name}: leave it out, the loss goes over responses only without it"
        )
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
        made = read_rows(rows, _text, skip=skip_bad_rows)
        return made, f"data: {shape.name}, {len(made)} rows{unused}; loss on all tokens"
    kept = [name for name in KEPT if name in rows.column_names]
    made = read_rows(rows, _keeping(kept, read), skip=skip_bad_rows)
    line = f"data: {shape.name}, {how}; {len(rows)} rows, {len(made)} to train on{unused}"
    return made, f"{line}; loss on {SCOPES[scope]}"


def _keeping(names: list[str], read: Reader) -> Reader:
    """`read`, with these columns of the row beside what it makes, all in one form."""
    form = OneForm()

    def keeping(row: Row) -> Iterator[dict[str, object]]:
        for each in read(row):
            form.check(each.get("completion", []))
            yield {**each, **{name: row[name] for name in names}}

    return keeping


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


def _text(row: Row) -> Iterator[dict[str, object]]:
    if is_empty(row["text"]):
        raise InputError("an empty text")
    yield {"text": row["text"]}


def _prompt_and_response(row: Row) -> Iterator[dict[str, object]]:
    answer = row.get("response", row.get("completion"))
    if answer is None or is_empty(answer):
        raise InputError("an empty response")
    prompt, response = (
        text_or_messages(row["prompt"], "prompt"),
        text_or_messages(answer, "response"),
    )
    if isinstance(prompt, list) and isinstance(response, str):
        # What is begun of the assistant's turn is a part of it.
        prompt, begun = split_begun(prompt)
        response = begun + response
        response = [{"role": "assistant", "content": response}]
    if type(prompt) is not type(response):
        raise InputError(
            "prompt is a text, but the response a list of messages: make both the same"
        )
    yield {"prompt": prompt, "completion": response}


def _turns(read: Callable[[Row], list[ChatTurn]], whole: bool) -> Reader:
    """For each response of a conversation a row: what went before, and the response."""

    def split(row: Row) -> Iterator[dict[str, Any]]:
        messages = read(row)
        places = [n for n, each in enumerate(messages) if each["role"] == "assistant"]
        if not places:
            raise InputError("a conversation without a turn of the assistant")
        for place in places:
            if is_empty(messages[place].get("content")) and "tool_calls" not in messages[place]:
                raise InputError("an empty response")
            if not whole:
                yield {"prompt": messages[:place], "completion": [messages[place]]}
        if whole:
            yield {"messages": messages}

    return split


def _messages(row: Row) -> list[ChatTurn]:
    return conversation(row, "messages")


def _sharegpt(row: Row) -> list[ChatTurn]:
    return conversation(row, "conversations")


def _alpaca(row: Row) -> list[ChatTurn]:
    return [*alpaca_messages(row), {"role": "assistant", "content": row["output"]}]


def _alpaca_text(row: Row) -> Iterator[dict[str, object]]:
    if is_empty(row["output"]):
        raise InputError("an empty response")
    yield {"prompt": alpaca_text(row), "completion": row["output"]}


def _answered(question: str, answer: str) -> tuple[Callable[[Row], list[ChatTurn]], Reader]:
    """How rows of a question and an answer are read: as a chat, and without a chat template."""

    def chat(row: Row) -> list[ChatTurn]:
        system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        asked = {"role": "user", "content": row[question]}
        return [*system, asked, {"role": "assistant", "content": row[answer]}]

    def plain(row: Row) -> Iterator[dict[str, object]]:
        if is_empty(row[answer]):
            raise InputError("an empty response")
        yield {"prompt": f"{row[question]}\n", "completion": str(row[answer])}

    return chat, plain


ALPACA = ("input", "system", "history")
SHAPES = (
    Shape("prompt and response", frozenset({"prompt", "response"}), plain=_prompt_and_response),
    Shape("prompt and completion", frozenset({"prompt", "completion"}), plain=_prompt_and_response),
    Shape("messages", frozenset({"messages"}), ("system",), chat=_messages),
    Shape("ShareGPT", frozenset({"conversations"}), ("system",), chat=_sharegpt),
    Shape("Alpaca", frozenset({"instruction", "output"}), ALPACA, _alpaca, _alpaca_text),
    Shape(
        "question and answer",
        frozenset({"question", "answer"}),
        ("system",),
        *_answered("question", "answer"),
    ),
    Shape(
        "problem and solution",
        frozenset({"problem", "solution"}),
        ("system",),
        *_answered("problem", "solution"),
    ),
    Shape("text", frozenset({"text"})),
)
