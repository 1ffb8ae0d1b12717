"""Read preference pairs of any known shape into checked `prompt`, `chosen`, `rejected`.

The sides are texts, turns or messages; the prompt has one of the forms in `SOURCES`, or is missing.
The result is read by TRL's reward and DPO trainers; no side is empty, and the two sides of a row
differ. Tokens are counted only to find prompts that are too long for the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, TrainingArguments

from touchstone_rewards.trainer.data.bad_rows import Faults, OneForm, read_rows
from touchstone_rewards.trainer.data.rows import (
    ID_COLUMNS,
    ensure_sample_ids,
    is_empty,
    require_column,
)
from touchstone_rewards.trainer.data.shapes import (
    ChatTurn,
    Row,
    alpaca_messages,
    alpaca_text,
    conversation,
    system_of,
    text_or_messages,
    unused_columns,
)
from touchstone_rewards.trainer.errors import InputError

SIDES = ("chosen", "rejected")
OTHER_NAMES = {
    **{f"{side}_response": side for side in SIDES},
    **{f"{side}_messages": side for side in SIDES},
}
Side = str | list[ChatTurn]


class Source(NamedTuple):
    """A form of prompts. `column` identifies it, `may` are further columns that it reads. `read`
    gets the row and whether the tokenizer has a chat template; None: `text_or_messages`."""

    name: str
    column: str
    may: tuple[str, ...] = ("system",)
    read: Callable[[Row, bool], Side] | None = None


def preference_rows(
    rows: Dataset,
    margin_column: str | None = None,
    *,
    has_template: bool = False,
    skip_bad_rows: bool = False,
) -> tuple[Dataset, str]:
    """Return the rows with `id`, `prompt` (if they have one), `chosen` and `rejected` only, and a
    line that names the recognized form and the unused text columns.

    `margin_column` becomes `margin`, the smallest score difference by which chosen should win.
    `has_template` says whether the tokenizer has a chat template.

    Raises:
        InputError: a column is missing, or `skip_bad_rows` is false and rows are bad: a side is
            empty, the sides are equal, the prompt is missing, or prompt and sides differ in form.
    """
    rows = _renamed(rows)
    for name in SIDES:
        if name not in rows.column_names:
            raise InputError(
                f"no column {name!r}: preference data has prompt, chosen and rejected (or "
                f"chosen_response and rejected_response); this has {rows.column_names}"
            )
    if margin_column:
        require_column(rows, margin_column, "margin_column")
    source = next((each for each in SOURCES if each.column in rows.column_names), None)
    used = [
        *SIDES,
        *ID_COLUMNS,
        margin_column or "",
        *((source.column, *source.may) if source else ()),
    ]
    chat, form = has_template and not _plain_only(source, rows), OneForm()

    def read(row: Row) -> Iterator[dict[str, Any]]:
        prompt = _prompt_of(row, source, chat)
        made = {**_pair(row, prompt), **_margin(row, margin_column)}
        if fault := fault_of(made):
            raise InputError(fault)
        form.check(made["chosen"])
        yield made

    made = read_rows(ensure_sample_ids(rows), read, skip=skip_bad_rows, what="pairs")
    how = "by the chat template" if isinstance(made[0]["chosen"], list) else "as they stand"
    name = source.name if source else "no prompt: the sides are whole texts or conversations"
    line = f"data: pairs, {name}; {how}; {len(rows)} rows, {len(made)} examples"
    return made, line + unused_columns(rows, used)


def read_pairs(
    tokenizer: PreTrainedTokenizerBase,
    config: object,
    args: TrainingArguments,
    rows: Dataset,
    *,
    margin_column: str | None = None,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return the pairs for a model and its tokenizer; print the recognized form.

    Raises:
        InputError: see `preference_rows` and `check_prompts_fit`.
    """
    has_template = bool(tokenizer.chat_template)
    pairs, line = preference_rows(
        rows, margin_column, has_template=has_template, skip_bad_rows=skip_bad_rows
    )
    if args.process_index == 0:
        print(line)
    return check_prompts_fit(pairs, tokenizer, config, skip_bad_rows=skip_bad_rows)


def _renamed(rows: Dataset) -> Dataset:
    wanted: dict[str, str] = {}
    for old, new in OTHER_NAMES.items():
        if old in rows.column_names and new not in [*rows.column_names, *wanted.values()]:
            wanted[old] = new
    return rows.rename_columns(wanted) if wanted else rows


def _plain_only(source: Source | None, rows: Dataset) -> bool:
    """Return whether prompts stay plain text: they are texts, and no system text precedes them."""
    return source is not None and source.read is None and "system" not in rows.column_names


def _prompt_of(row: Row, source: Source | None, chat: bool) -> Side | None:
    if source is None:
        return None
    if source.read is not None:
        return source.read(row, chat)
    prompt, system = text_or_messages(row[source.column], source.column), system_of(row)
    if isinstance(prompt, list):
        return prompt if prompt and prompt[0]["role"] == "system" else system + prompt
    if chat:
        return [*system, {"role": "user", "content": prompt}]
    return f"{row['system']}\n\n{prompt}" if system else prompt


def _pair(row: Row, prompt: Side | None) -> dict[str, object]:
    """Return prompt and sides in one form: all texts, or all lists of messages."""
    if empty := next((name for name in SIDES if row[name] is None or is_empty(row[name])), None):
        raise InputError(f"an empty response ({empty})")
    chosen, rejected = (text_or_messages(row[name], name) for name in SIDES)
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise InputError("chosen and rejected must both be texts, or both lists of messages")
    texts = isinstance(chosen, str)
    if prompt is None or (texts and isinstance(prompt, str)):
        return {
            **({} if prompt is None else {"prompt": prompt}),
            "chosen": chosen,
            "rejected": rejected,
        }
    return _split(
        _as_chat(prompt, "user"), _as_chat(chosen, "assistant"), _as_chat(rejected, "assistant")
    )


def _as_chat(side: Side, role: str) -> list[ChatTurn]:
    return [{"role": role, "content": side}] if isinstance(side, str) else side


def _split(
    messages: list[ChatTurn], chosen: list[ChatTurn], rejected: list[ChatTurn]
) -> dict[str, object]:
    """Split chats into prompt and sides; a side may contain the prompt, or the prompt a side.

    Raises:
        InputError: the sides contain different prompts.
    """
    if chosen[0]["role"] != "assistant":
        if chosen[:-1] != rejected[:-1]:
            raise InputError("chosen and rejected begin with different prompts")
        messages, chosen, rejected = chosen[:-1], chosen[-1:], rejected[-1:]
    elif messages[-1:] in (chosen, rejected):
        messages = messages[:-1]
    return {"prompt": messages, "chosen": chosen, "rejected": rejected}


def _margin(row: Row, column: str | None) -> dict[str, float]:
    if column is None:
        return {}
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"margin_column {column!r} must hold a number, not {value!r:.40}")
    return {"margin": float(value)}


def fault_of(pair: Row) -> str | None:
    """Return the fault of a pair; None if it has none."""
    for name in SIDES:
        if is_empty(pair[name]):
            return f"an empty response ({name})"
    prompt = pair.get("prompt")
    if isinstance(prompt, list) and is_empty(prompt):
        return "an empty prompt"
    return "equal sides (chosen is rejected)" if pair["chosen"] == pair["rejected"] else None


def check_prompts_fit(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    config: Any,
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return the rows after checking that the tokenizer can read them and prompts leave room to
    respond.

    With `skip_bad_rows`, rows whose prompt leaves no room are named and skipped.

    Raises:
        InputError: a prompt fills all positions of the model, or the rows are chats and there is no
            chat template.
    """
    chats = any(isinstance(value, list) for value in rows[0].values())
    if chats and not tokenizer.chat_template:
        raise InputError(
            "the data are chats, but the tokenizer has no chat template: add chat_template.jinja "
            "to the model's folder (or set chat_template_path, for sft and rm)"
        )
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None or "prompt" not in rows.column_names:
        return rows
    faults, good = Faults(), []
    for place, row in enumerate(_each(rows, ["id", "prompt"])):
        if prompt_tokens(row["prompt"], tokenizer, positions) < positions:
            good.append(place)
        else:
            faults.add(row["id"], f"a prompt that fills the model's {positions} positions")
    faults.settle(len(rows), skip=skip_bad_rows)
    return rows.select(good) if len(good) < len(rows) else rows


def prompt_tokens(prompt: object, tokenizer: PreTrainedTokenizerBase, at_least: int) -> int:
    """Count the tokens of a prompt; return 0 if it has too few bytes for `at_least` tokens."""
    if isinstance(prompt, list):
        text = str(tokenizer.apply_chat_template(prompt, tokenize=False))
    else:
        text = str(prompt)
    if len(text.encode()) < at_least:
        return 0
    return len(tokenizer(text, verbose=False)["input_ids"])  # pyright: ignore[reportArgumentType]


def _each(rows: Dataset, columns: list[str]) -> Iterator[dict[str, Any]]:
    for row in rows.select_columns(columns):
        assert isinstance(row, dict)
        yield row


def _alpaca(row: Row, chat: bool) -> Side:
    return alpaca_messages(row) if chat else alpaca_text(row)


# Order matters: a dataset with `prompt` may repeat its first turn as `messages`.
SOURCES = (
    Source("prompt", "prompt"),
    Source(
        "ShareGPT (conversations)",
        "conversations",
        read=lambda row, _: conversation(row, "conversations"),
    ),
    Source("messages", "messages", read=lambda row, _: conversation(row, "messages")),
    Source("Alpaca (instruction)", "instruction", ("input", "system", "history"), _alpaca),
    Source("question", "question"),
    Source("query", "query"),
    Source("problem", "problem"),
)
