"""Datasets for the trainers: loading, one unique id a row, prompts.

In: a file, a folder or a hub name. Out: a `datasets.Dataset` with a column `id` of unique strings
and, for GRPO and evaluation, a column `prompt`. It tokenizes nothing: that is the trainers' part.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from touchstone_rewards.trainer.data.chats import begun
from touchstone_rewards.trainer.data.files import FILE_FORMATS, looks_local, names_of, suffix_of
from touchstone_rewards.trainer.errors import InputError

ID_COLUMNS = ("id", "sample_id", "example_id", "question_id")
NEW_IDS = "__new_id"
PROMPTS = Path(__file__).parents[1] / "prompts"
# Text, or the messages of a chat.
Template = str | list[dict[str, str]]


@dataclass
class DataArguments:
    """Which rows to train on; the first four fields are named as in TRL's own scripts."""

    dataset_name: list[str] | None = field(
        default=None,
        metadata={
            "help": "A .jsonl, .json, .parquet or .csv file (also .gz), a pattern, a folder of "
            "save_to_disk or a hub name; or several of them, one after the other."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "The configuration of a hub dataset."}
    )
    dataset_train_split: str = field(
        default="train", metadata={"help": "The hub split to train on."}
    )
    dataset_test_split: str = field(
        default="test", metadata={"help": "The hub split for eval_strategy."}
    )
    eval_dataset_name: list[str] | None = field(
        default=None,
        metadata={"help": "Rows for eval_strategy, if they are not a split of dataset_name."},
    )


@dataclass
class PromptArguments:
    """How a row becomes a prompt; nothing is changed if the data has a `prompt` column."""

    prompt_template: str | None = field(
        default=None,
        metadata={
            "help": "A file, or a name in trainer/prompts (r1_zero, question_only, boxed, chat), "
            "holding {question}. A .json file holds messages and makes a chat, others text."
        },
    )
    question_column: str = field(
        default="question", metadata={"help": "The column that goes into the template."}
    )
    system_prompt: str | None = field(
        default=None,
        metadata={"help": "Turns the question into a chat: this system message, then the user's."},
    )
    assistant_prefill: str | None = field(
        default=None,
        metadata={
            "help": "How every response begins: said for the model, as the end of its prompt. Only "
            "what follows is its response, and is scored."
        },
    )


def load_rows(
    names: str | Sequence[str], config: str | None = None, split: str = "train"
) -> Dataset:
    """The rows of local files or folders, else of hub datasets, one after the other.

    Raises:
        InputError: there is no such file, what is there cannot be read as rows, or several do not
            have the same columns.
    """
    named = names_of(names)
    parts = [_rows(name, config, split) for name in named]
    if len(parts) == 1:
        return parts[0]
    try:
        return concatenate_datasets(parts)
    except ValueError as error:
        pairs = zip(named, parts, strict=True)
        columns = "; ".join(f"{name} has {rows.column_names}" for name, rows in pairs)
        raise InputError(f"the datasets do not go together: {columns}") from error


def _rows(name: str, config: str | None, split: str) -> Dataset:
    path = Path(name).expanduser()
    if not path.exists() and looks_local(name):
        raise InputError(f"no dataset at {name}")
    if path.is_file() and suffix_of(path) not in FILE_FORMATS:
        kinds = ", ".join(FILE_FORMATS)
        raise InputError(f"{name}: rows come as {kinds}, not {path.suffix!r}")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"the dataset {name} is empty")
    try:
        rows = _load(path, name, config, split)
    except (OSError, ValueError, EOFError, LZMAError, zlib.error, DatasetsError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot read the dataset {name}: {reason}") from error
    if len(rows) == 0:
        raise InputError(f"the dataset {name} has no rows")
    return rows


def _load(path: Path, name: str, config: str | None, split: str) -> Any:
    if path.is_file():
        return load_dataset(FILE_FORMATS[suffix_of(path)], data_files=str(path), split="train")
    if (path / "state.json").is_file():
        return load_from_disk(str(path))
    if (path / "dataset_dict.json").is_file():
        return _saved_split(path, split)
    return load_dataset(name, config, split=split)


def _saved_split(path: Path, split: str) -> Any:
    splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    if split not in splits:
        raise InputError(f"{path} has no split {split!r}; it has {', '.join(splits)}")
    return load_from_disk(str(path / split))


def ensure_sample_ids(rows: Dataset) -> Dataset:
    """The rows with a column `id`: unique strings, whatever was there before.

    The ids are those of the first of `id`, `sample_id`, `example_id`, `question_id` that exists, as
    strings, by the rule of `unique_ids`. They depend on the rows alone, so every rank and every
    resumed run has the same.
    """
    source = next((name for name in ID_COLUMNS if name in rows.column_names), None)
    ids = unique_ids(rows[source] if source else [None] * len(rows))
    # Added before the old column goes: a dataset without columns has no rows.
    rows = rows.add_column(NEW_IDS, ids)  # pyright: ignore[reportCallIssue]
    if "id" in rows.column_names:
        rows = rows.remove_columns("id")
    return rows.rename_column(NEW_IDS, "id")


def unique_ids(values: Iterable[Any]) -> list[str]:
    """A unique string for each value, in order.

    A value is kept as its string. A missing one (null, NaN, blank) becomes `row-N`, N its place
    from 0. The first of equal ids keeps it; the next ones get `#2`, `#3`, ... at their end. No name
    that the data itself uses is given to another row.
    """
    values = list(values)
    own = {str(value) for value in values if not _is_missing(value)}
    given: set[str] = set()
    last_number: dict[str, int] = {}
    ids = []
    for place, value in enumerate(values):
        missing = _is_missing(value)
        name = f"row-{place}" if missing else str(value)
        new = name
        while new in given or (new in own and (missing or new != name)):
            last_number[name] = last_number.get(name, 1) + 1
            new = f"{name}#{last_number[name]}"
        given.add(new)
        ids.append(new)
    return ids


def _is_missing(value: Any) -> bool:
    return value is None or value != value or not str(value).strip()


def with_prompts(rows: Dataset, arguments: PromptArguments) -> Dataset:
    """The rows with a column `prompt`: their own, or made of the question.

    Raises:
        InputError: no column `prompt` and no way given to make one, or no such template or column.
    """
    rows = _templated(rows, arguments)
    prefill = arguments.assistant_prefill
    if not prefill:
        return rows
    return rows.map(lambda row: {"prompt": begun(row["prompt"], prefill)})


def _templated(rows: Dataset, arguments: PromptArguments) -> Dataset:
    template, system = arguments.prompt_template, arguments.system_prompt
    if template is None and system is None:
        if "prompt" in rows.column_names:
            return rows
        raise InputError(
            "the dataset has no column 'prompt': set prompt_template or system_prompt to make it "
            f"from another one of {rows.column_names}"
        )
    if template is not None and system is not None:
        raise InputError("set prompt_template (plain text) or system_prompt (a chat), not both")
    column = require_column(rows, arguments.question_column, "question_column")
    pattern = read_template(template) if template is not None else chat_of(str(system))
    old = [name for name in rows.column_names if name == "prompt" and column != "prompt"]
    return rows.remove_columns(old).map(
        lambda row: {"prompt": fill_template(pattern, str(row[column]))}
    )


def chat_of(system: str) -> Template:
    """The chat of a system message and the question."""
    return [{"role": "system", "content": system}, {"role": "user", "content": "{question}"}]


def fill_template(template: Template, question: str) -> Template:
    """The template with the question in the place of {question}."""
    if isinstance(template, str):
        return template.replace("{question}", question)
    return [
        {key: text.replace("{question}", question) for key, text in message.items()}
        for message in template
    ]


def read_template(name: str) -> Template:
    """A template: a file's, or that of a name in trainer/prompts; of a .json file its messages.

    Raises:
        InputError: no such template, or no {question} in it.
    """
    known = {path.stem: path for path in PROMPTS.iterdir() if path.suffix in (".txt", ".json")}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise InputError(
            f"no prompt template {name!r}: a file, or one of {', '.join(sorted(known))}"
        )
    text = path.read_text(encoding="utf-8")
    if "{question}" not in text:
        raise InputError(f"the prompt template {name} has no {{question}} in it")
    return text if path.suffix != ".json" else read_messages(name, text)


def read_messages(name: str, text: str) -> list[dict[str, str]]:
    """The messages of a chat template's text.

    Raises:
        InputError: it is no list of {"role", "content"}.
    """
    try:
        messages = json.loads(text)
        return [{"role": each["role"], "content": each["content"]} for each in messages]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"the prompt template {name} is no list of messages with role and content"
        ) from error


def require_column(rows: Dataset, column: str, flag: str) -> str:
    """`column`, if the rows have it.

    Raises:
        InputError: they do not; the message names the flag and the columns that there are.
    """
    if column not in rows.column_names:
        raise InputError(f"no column {column!r} ({flag}) in the data; it has {rows.column_names}")
    return column


def with_truths(rows: Dataset, column: str, readers: Sequence[str] | None) -> Dataset:
    """The rows with a column of ground truths; an empty one where nobody reads it. `readers`: the
    profiles that do, None where that is not known.

    Raises:
        InputError: there is no such column, and a profile reads it.
    """
    if column in rows.column_names:
        return rows
    if readers is None or readers:
        why = f": profile {', '.join(readers)} reads it" if readers else ""
        raise InputError(
            f"no column {column!r} (ground_truth_column) in the data{why}; it has "
            f"{rows.column_names}"
        )
    return rows.add_column(column, [None] * len(rows))  # pyright: ignore[reportCallIssue]


def is_empty(response: Any) -> bool:
    """Whether a response, a text or messages, says nothing."""
    if isinstance(response, list):
        return not response or is_empty(response[-1].get("content"))
    return response is None or not str(response).strip()
