"""Datasets for the trainers: loading, unique ids, and prompts.

A name of a file, a folder or a hub dataset becomes a `datasets.Dataset` with a column `id` of
unique strings and, for GRPO and evaluation, a column `prompt`. Tokenization is left to the
trainers.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset, ReadInstruction, concatenate_datasets, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError, DatasetsError

from touchstone_rewards.trainer.data.bad_rows import that_ask
from touchstone_rewards.trainer.data.chats import begun
from touchstone_rewards.trainer.data.faulty_files import fault_in, lines_of, wrong_encoding
from touchstone_rewards.trainer.data.files import (
    FILE_FORMATS,
    looks_local,
    names_of,
    saved_split,
    suffix_of,
)
from touchstone_rewards.trainer.errors import InputError

# This logger also reports faulty files, at length.
logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)

ID_COLUMNS = ("id", "sample_id", "example_id", "question_id")
NEW_IDS = "__new_id"
MOST_NAMED = 20
TEXTS = (".jsonl", ".json", ".csv")
PROMPTS = Path(__file__).parents[1] / "prompts"
# A text, or the messages of a chat.
Template = str | list[dict[str, str]]


@dataclass
class DataArguments:
    """The rows to train on, and whether to replace an earlier run in output_dir. The first four
    fields have the names of TRL's own scripts."""

    dataset_name: list[str] | None = field(
        default=None,
        metadata={
            "help": "A .jsonl, .json, .parquet or .csv file (also .gz), a pattern, a folder "
            "written by save_to_disk, or a hub name; several are concatenated."
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration of a hub dataset."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str = field(default="test", metadata={"help": "Split for eval_strategy."})
    eval_dataset_name: list[str] | None = field(
        default=None,
        metadata={"help": "Evaluation rows, if they are not a split of dataset_name."},
    )
    dataset_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder with LLaMA-Factory's dataset_info.json, in which the names given as "
            "dataset_name (separated by commas) are looked up."
        },
    )
    max_rows: int | None = field(
        default=None, metadata={"help": "Use only the first max_rows rows of each dataset."}
    )
    eval_share: float = field(
        default=0.05,
        metadata={
            "help": "Share of the rows of a single file held out for "
            "eval_strategy if eval_dataset_name is not given."
        },
    )
    skip_bad_rows: bool = field(
        default=False,
        metadata={"help": "Skip rows that cannot be trained on, and name them."},
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Replace an earlier run in output_dir."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.eval_share < 1:
            raise ValueError(f"eval_share must be above 0 and below 1, not {self.eval_share}")
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"max_rows must be 1 or more, not {self.max_rows}")


@dataclass
class PromptArguments:
    """How a row becomes a prompt. A `prompt` column in the data is used as it is."""

    prompt_template: str | None = field(
        default=None,
        metadata={
            "help": "A file, or a name in trainer/prompts (r1_zero, r1_zero_baseline, boxed, "
            "question_only, chat, tags_and_box), that contains {question}. "
            "A .json file holds messages and makes a chat; other files make text."
        },
    )
    question_column: str = field(
        default="question", metadata={"help": "Column that replaces {question}."}
    )
    system_prompt: str | None = field(
        default=None,
        metadata={"help": "Make a chat of this system message and the question."},
    )
    assistant_prefill: str | None = field(
        default=None,
        metadata={
            "help": "First words of every response, added to the prompt. Only the text "
            "that the model adds is its response and is scored."
        },
    )


def load_rows(
    names: str | Sequence[str],
    config: str | None = None,
    split: str = "train",
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return the rows of local files or folders, or of hub datasets, concatenated.

    A slice in `split`, such as `test[:5%]`, applies to files too; a file has one split of any name.
    With `skip_bad_rows`, unreadable lines of a .jsonl file are named and skipped.

    Raises:
        InputError: a file is missing or cannot be read, or the datasets have different columns.
    """
    named = names_of(names)
    parts = [_rows(name, config, split, skip_bad_rows) for name in named]
    if len(parts) == 1:
        return parts[0]
    try:
        return concatenate_datasets(parts)
    except ValueError as error:
        pairs = zip(named, parts, strict=True)
        columns = "; ".join(f"{name} has {rows.column_names}" for name, rows in pairs)
        raise InputError(f"the datasets have different columns: {columns}") from error


def _rows(name: str, config: str | None, split: str, skip_bad_rows: bool) -> Dataset:
    path = Path(name).expanduser()
    if not path.exists() and looks_local(name):
        raise InputError(f"no dataset at {name}")
    if path.is_file() and suffix_of(path) not in FILE_FORMATS:
        kinds = ", ".join(FILE_FORMATS)
        raise InputError(f"{name}: expected a file of type {kinds}, not {path.suffix!r}")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"the dataset {name} is empty")
    if path.suffix in TEXTS and path.is_file() and (wrong := wrong_encoding(path)):
        raise InputError(f"cannot read the dataset {name}: {wrong}")
    try:
        rows = _load(path, name, config, split)
    except (OSError, ValueError, EOFError, LZMAError, zlib.error, DatasetsError) as error:
        fault = fault_in(path) if path.is_file() else None
        if fault and path.suffix == ".jsonl":
            if skip_bad_rows:
                return part_of(_readable_rows(path), split, name)
            fault += ": correct it, or skip it with --skip_bad_rows true"
        reason = fault or _reason_of(error)
        raise InputError(f"cannot read the dataset {name}: {reason}") from error
    if len(rows) == 0:
        raise InputError(f"the dataset {name} has no rows")
    return rows


def _load(path: Path, name: str, config: str | None, split: str) -> Any:
    if path.is_file():
        rows = load_dataset(FILE_FORMATS[suffix_of(path)], data_files=str(path), split="train")
        return part_of(rows, split, name)
    if (path / "state.json").is_file():
        return part_of(load_from_disk(str(path)), split, name)
    if (path / "dataset_dict.json").is_file():
        return part_of(saved_split(path, split.partition("[")[0]), split, name)
    return load_dataset(name, config, split=split)


def part_of(rows: Any, split: str, name: str) -> Any:
    """Return the slice of `rows` that a split such as `test[:5%]` or `train[10:20]` selects.

    Raises:
        InputError: the slice is malformed or empty, or names several splits.
    """
    own = split.partition("[")[0]
    if "+" in split:
        raise InputError(f"{name} has one split: the split {split!r} asks for several")
    try:
        [part] = ReadInstruction.from_spec(split).to_absolute({own: len(rows)})
        places = range(len(rows))[part.from_ : part.to]
    except (ValueError, AssertionError) as error:
        raise InputError(f"{split!r} is not a split: {error}") from error
    if not places:
        raise InputError(f"the split {split!r} takes none of the {len(rows)} rows of {name}")
    return rows if len(places) == len(rows) else rows.select(places)


def _readable_rows(path: Path) -> Any:
    """Return the rows of the readable lines; print the others."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        left_out = []
        with open(copy, "w", encoding="utf-8") as file:
            for number, line, fault in lines_of(path):
                if fault:
                    left_out.append(f"line {number} {fault}")
                else:
                    file.write(line if line.endswith("\n") else line + "\n")
        for each in left_out[:MOST_NAMED]:
            print(f"skipped: {path}, {each}")
        print(f"skipped: {len(left_out)} unreadable lines of {path}")
        if copy.stat().st_size == 0:
            raise InputError(f"cannot read the dataset {path}: no line of it is a row")
        return load_dataset("json", data_files=str(copy), split="train", keep_in_memory=True)


def _reason_of(error: Exception) -> str:
    """Return the first line of an error's message; of its cause if the error itself says
    nothing."""
    told = error.__cause__ if isinstance(error, DatasetGenerationError) else error
    if "corresponds to no data" in str(told):
        return "it has no rows"
    return str(told or error).strip().partition("\n")[0]


def ensure_sample_ids(rows: Dataset) -> Dataset:
    """Return the rows with a column `id` of unique strings.

    The ids come from the first existing column of `id`, `sample_id`, `example_id` and
    `question_id`, made unique by `unique_ids`. They depend on the rows alone, so every rank and
    every resumed run computes the same ids.
    """
    source = next((name for name in ID_COLUMNS if name in rows.column_names), None)
    ids = unique_ids(rows[source] if source else [None] * len(rows))
    # Added before the old column is removed: a dataset without columns has no rows.
    rows = rows.add_column(NEW_IDS, ids)  # pyright: ignore[reportCallIssue]
    if "id" in rows.column_names:
        rows = rows.remove_columns("id")
    return rows.rename_column(NEW_IDS, "id")


def unique_ids(values: Iterable[object]) -> list[str]:
    """Return a unique string for each value, in order.

    A value becomes its string; a missing one (null, NaN, blank) becomes `row-N`, where N is its
    position from 0. Repeated ids get `#2`, `#3`, ... appended. A made id never equals an id that
    the data itself contains.
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


def _is_missing(value: object) -> bool:
    return value is None or value != value or not str(value).strip()


def with_prompts(
    rows: Dataset, arguments: PromptArguments, *, skip_bad_rows: bool = False
) -> Dataset:
    """Return the rows with a column `prompt`: their own, or made from the question.

    Raises:
        InputError: there is no column `prompt` and no way to make one, a template or column is
            missing, or rows lack a prompt or question and `skip_bad_rows` is false.
    """
    rows = _templated(rows, arguments, skip_bad_rows)
    prefill = arguments.assistant_prefill
    if not prefill:
        return rows
    return rows.map(lambda row: {"prompt": begun(row["prompt"], prefill)})


def _templated(rows: Dataset, arguments: PromptArguments, skip_bad_rows: bool) -> Dataset:
    template, system = arguments.prompt_template, arguments.system_prompt
    if template is None and system is None:
        if "prompt" in rows.column_names:
            return that_ask(ensure_sample_ids(rows), "prompt", skip=skip_bad_rows)
        if "messages" in rows.column_names:
            return rows.map(lambda row: {"prompt": before_the_answer(row["messages"])})
        raise InputError(
            "the dataset has no column 'prompt': set prompt_template or system_prompt to make it "
            f"from another one of {rows.column_names}"
        )
    if template is not None and system is not None:
        raise InputError("set prompt_template (plain text) or system_prompt (a chat), not both")
    column = require_column(rows, arguments.question_column, "question_column")
    pattern = read_template(template) if template is not None else chat_of(str(system))
    rows = that_ask(ensure_sample_ids(rows), column, skip=skip_bad_rows)
    old = [name for name in rows.column_names if name == "prompt" and column != "prompt"]
    return rows.remove_columns(old).map(
        lambda row: {"prompt": fill_template(pattern, str(row[column]))}
    )


def before_the_answer(messages: list[dict[str, Any]]) -> list[dict[str, object]]:
    """Return a conversation without the assistant's turn at its end."""
    answered = bool(messages) and messages[-1]["role"] == "assistant"
    return messages[:-1] if answered else messages


def chat_of(system: str) -> Template:
    """Return a chat template of a system message and the question."""
    return [{"role": "system", "content": system}, {"role": "user", "content": "{question}"}]


def fill_template(template: Template, question: str) -> Template:
    """Return the template with {question} replaced by the question."""
    if isinstance(template, str):
        return template.replace("{question}", question)
    return [
        {key: text.replace("{question}", question) for key, text in message.items()}
        for message in template
    ]


def read_template(name: str) -> Template:
    """Return a template from a file, or by a name in trainer/prompts; a .json file holds messages.

    Raises:
        InputError: there is no such template, or it has no {question}.
    """
    known = {path.stem: path for path in PROMPTS.iterdir() if path.suffix in (".txt", ".json")}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise InputError(
            f"no prompt template {name!r}: give a file, or one of {', '.join(sorted(known))}"
        )
    text = path.read_text(encoding="utf-8")
    if "{question}" not in text:
        raise InputError(f"the prompt template {name} has no {{question}} in it")
    return text if path.suffix != ".json" else read_messages(name, text)


def read_messages(name: str, text: str) -> list[dict[str, str]]:
    """Parse the text of a .json chat template.

    Raises:
        InputError: it is not a list of {"role", "content"}.
    """
    try:
        messages = json.loads(text)
        return [{"role": each["role"], "content": each["content"]} for each in messages]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"the prompt template {name} is not a list of messages with role and content"
        ) from error


def require_column(rows: Dataset, column: str, flag: str) -> str:
    """Return `column` if the rows have it.

    Raises:
        InputError: they do not; the message names the flag and lists the existing columns.
    """
    if column not in rows.column_names:
        raise InputError(f"no column {column!r} ({flag}) in the data; it has {rows.column_names}")
    return column


def is_empty(response: object) -> bool:
    """Return whether a response (a text, a turn or messages) is empty."""
    if isinstance(response, list):
        return not response or is_empty(response[-1])
    if isinstance(response, dict):
        said = response.get("content", response.get("value"))
        return not response.get("tool_calls") and is_empty(said)
    return response is None or not str(response).strip()
