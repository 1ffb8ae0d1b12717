"""Preference pairs: rows in, checked `prompt`, `chosen`, `rejected` out.

In: rows as `{prompt, chosen, rejected}` or `{prompt, chosen_response, rejected_response}`, sides as
texts or as messages. Out: rows that TRL's reward and DPO trainers read, none of them empty or with
equal sides. It tokenizes only to find prompts that no model of this length can read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from touchstone_rewards.trainer.data.rows import ensure_sample_ids, is_empty, require_column
from touchstone_rewards.trainer.errors import InputError

SIDES = ("chosen", "rejected")
OTHER_NAMES = {"chosen_response": "chosen", "rejected_response": "rejected"}


def preference_rows(rows: Dataset, margin_column: str | None = None) -> Dataset:
    """The rows with `id`, `prompt` (if they have one), `chosen`, `rejected` and nothing else.

    `margin_column` becomes `margin`: by how much the chosen side should at least win.

    Raises:
        InputError: a column is missing, a side is empty, both sides of a pair are equal, or prompt
            and sides do not go together.
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
        if margin_column != "margin":
            others = [name for name in rows.column_names if name == "margin"]
            rows = rows.remove_columns(others).rename_column(margin_column, "margin")
    names = ["id", "prompt", *SIDES, *(["margin"] if margin_column else [])]
    rows = ensure_sample_ids(rows)
    rows = rows.select_columns([name for name in names if name in rows.column_names])
    rows = _as_messages(rows)
    check_pairs(rows)
    return rows


def _renamed(rows: Dataset) -> Dataset:
    wanted = {
        old: new
        for old, new in OTHER_NAMES.items()
        if old in rows.column_names and new not in rows.column_names
    }
    return rows.rename_columns(wanted) if wanted else rows


def _as_messages(rows: Dataset) -> Dataset:
    """Sides that are texts become one assistant message where the prompt is a chat."""
    first = rows[0]
    for name in SIDES:
        if not isinstance(first[name], str | list):
            kind = type(first[name]).__name__
            raise InputError(f"{name} is a text or a list of messages, not {kind}")
    if isinstance(first["chosen"], str) != isinstance(first["rejected"], str):
        raise InputError("chosen and rejected must both be texts, or both lists of messages")
    if "prompt" not in first or isinstance(first["prompt"], str) == isinstance(
        first["chosen"], str
    ):
        return rows
    if isinstance(first["prompt"], str):
        raise InputError("prompt is a text, but chosen a list of messages: make both the same")
    return rows.map(
        lambda row: {name: [{"role": "assistant", "content": row[name]}] for name in SIDES},
        desc="Sides as messages",
    )


def check_pairs(rows: Dataset) -> None:
    """Nothing, if every pair can teach something.

    Raises:
        InputError: some cannot; the message says how many, which one is the first and why.
    """
    faults: dict[str, list[str]] = {}
    for row in _each(rows, ["id", *SIDES]):
        if fault := fault_of(row):
            faults.setdefault(fault, []).append(row["id"])
    for fault, ids in faults.items():
        raise InputError(
            f"{fault} in {len(ids)} of {len(rows)} pairs, first in {ids[0]!r}: take them out"
        )


def fault_of(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a pair, None where nothing is."""
    for name in SIDES:
        if is_empty(row[name]):
            return f"an empty response ({name})"
    return "equal sides (chosen is rejected)" if row["chosen"] == row["rejected"] else None


def check_prompts_fit(rows: Dataset, tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    """Nothing, if the tokenizer can read the rows and every prompt leaves room for a response.

    Raises:
        InputError: a prompt has as many tokens as the model has positions, or more; or the rows are
            chats, and there is no chat template.
    """
    chats = any(isinstance(value, list) for value in rows[0].values())
    if chats and not tokenizer.chat_template:
        raise InputError(
            "the data are chats, but the tokenizer has no chat template: add chat_template.jinja "
            "to the model's folder (or set chat_template_path, for sft and rm)"
        )
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is None or "prompt" not in rows.column_names:
        return
    for row in _each(rows, [name for name in ("id", "prompt") if name in rows.column_names]):
        count = prompt_tokens(row["prompt"], tokenizer, positions)
        if count >= positions:
            raise InputError(
                f"the prompt of {row.get('id', 'a row')!r} has {count} tokens, the model only "
                f"{positions} positions: shorten it or take it out"
            )


def prompt_tokens(prompt: Any, tokenizer: PreTrainedTokenizerBase, at_least: int) -> int:
    """Tokens of a prompt; 0 without looking where its bytes are too few for `at_least` tokens."""
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
