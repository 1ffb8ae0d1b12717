"""Recognize the shape of supervised data, and convert it into the rows that TRL's SFT reads.

Known shapes are `{prompt, response}`, `{prompt, completion}`, `{messages}`, ShareGPT `{system,
conversations}`, Alpaca `{instruction, input, output}`, `{question, answer}` and `{text}`. The
result has `prompt` and `completion`, one row per response, so that the loss covers responses only;
or `messages`, where the loss covers whole conversations. Nothing is tokenized here.
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
    "marked": "the assistant's tokens, as marked by the chat template",
}
KEPT = ("tools", "chat_template_kwargs")


class Shape(NamedTuple):
    """A shape of rows. `needs` are the columns that identify it, `may` further columns that it
    reads. `chat` and `plain` read a row with and without a chat template; TRL reads it if both are
    None."""

    name: str
    needs: frozenset[str]
    may: tuple[str, ...] = ()
    chat: Callable[[Row], list[ChatTurn]] | None = None
    plain: Reader | None = None


def sft_rows(
    rows: Dataset, *, has_template: bool, scope: Scope, skip_bad_rows: bool = False
) -> tuple[Dataset, str]:
    """Return the rows for TRL, each with the `id` of its source row, and a line that names the
    shape, the counts and the unused text columns.

    `has_template` says whether the tokenizer has a chat template.

    Raises:
        InputError: the shape is unknown, a response is empty, or a chat template is missing.
    """
    shape = recognise(rows)
    unused = unused_columns(rows, [*shape.needs, *shape.may, *KEPT, *ID_COLUMNS])
    rows = ensure_sample_ids(rows)
    if scope == "marked" and not (shape.chat and has_template):
        raise InputError(
            f"assistant_only_loss needs conversations and a chat template, but the data are "
            f"{shape.name}: leave it out; without it the loss covers responses only"
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
    line = f"data: {shape.name}, {how}; {len(rows)} rows, {len(made)} examples{unused}"
    return made, f"{line}; loss on {SCOPES[scope]}"


def _keeping(names: list[str], read: Reader) -> Reader:
    """Return a reader that adds these columns of the row, and checks that all rows have one
    form."""
    form = OneForm()

    def keeping(row: Row) -> Iterator[dict[str, object]]:
        for each in read(row):
            form.check(each.get("completion", []))
            yield {**each, **{name: row[name] for name in names}}

    return keeping


def recognise(rows: Dataset) -> Shape:
    """Return the first known shape whose columns the rows have.

    Raises:
        InputError: no shape fits; the message lists the existing columns and those of every shape.
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
        # A response that the prompt begins includes its beginning.
        prompt, begun = split_begun(prompt)
        response = begun + response
        response = [{"role": "assistant", "content": response}]
    if type(prompt) is not type(response):
        raise InputError("prompt and response must both be texts or both be lists of messages")
    yield {"prompt": prompt, "completion": response}


def _turns(read: Callable[[Row], list[ChatTurn]], whole: bool) -> Reader:
    """Return a reader that makes one row per response: the turns before it, and the response."""

    def split(row: Row) -> Iterator[dict[str, Any]]:
        messages = read(row)
        places = [n for n, each in enumerate(messages) if each["role"] == "assistant"]
        if not places:
            raise InputError("a conversation without an assistant turn")
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
    """Return readers for rows of a question and an answer: as a chat, and without a chat
    template."""

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
