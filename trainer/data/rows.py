"""Datasets for the trainers: loading, one unique id a row, prompts.

In: a file, a folder or a hub name. Out: a `datasets.Dataset` with a column `id` of unique strings
and, for GRPO and evaluation, a column `prompt`. It tokenizes nothing: that is the trainers' part.
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

# It logs what is wrong with a file as well, in its own words and at length.
logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)

ID_COLUMNS = ("id", "sample_id", "example_id", "question_id")
NEW_IDS = "__new_id"
MOST_NAMED = 20
TEXTS = (".jsonl", ".json", ".csv")
PROMPTS = Path(__file__).parents[1] / "prompts"
# Text, or the messages of a chat.
Template = str | list[dict[str, str]]


@dataclass
class DataArguments:
    """Which rows to train on, and what becomes of an earlier run in output_dir; the first four
    fields are named as in TRL's own scripts."""

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
    dataset_dir: str | None = field(
        default=None,
        metadata={
            "help": "A folder with LLaMA-Factory's dataset_info.json: the names, one or several "
            "with commas between them, are looked up there."
        },
    )
    max_rows: int | None = field(
        default=None, metadata={"help": "Of each data set, take the first rows only."}
    )
    eval_share: float = field(
        default=0.05,
        metadata={
            "help": "Of a single file without eval_dataset_name: the share of rows held out for "
            "eval_strategy."
        },
    )
    skip_bad_rows: bool = field(
        default=False,
        metadata={"help": "Leave out and name rows that nothing can be learnt from."},
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Replace an earlier run in output_dir."}
    )

    def __post_init__(self) -> None:
        if not 0 < self.eval_share < 1:
            raise ValueError(f"eval_share is a share, above 0 and below 1, not {self.eval_share}")
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"max_rows is 1 or more, not {self.max_rows}")


@dataclass
class PromptArguments:
    """How a row becomes a prompt; nothing is changed if the data has a `prompt` column."""

    prompt_template: str | None = field(
        default=None,
        metadata={
            "help": "A file, or a name in trainer/prompts (r1_zero, r1_zero_baseline, boxed, "
            "question_only, chat, tags_and_box), holding {question}. A .json file holds messages "
            "and makes a chat, others text."
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
    names: str | Sequence[str],
    config: str | None = None,
    split: str = "train",
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """The rows of local files or folders, else of hub datasets, one after the other.

    A slice in `split`, as in `test[:5%]`, is taken of a file too, which has one split whatever its
    name. `skip_bad_rows`: lines of a .jsonl file that cannot be read are named and left out.

    Raises:
        InputError: there is no such file, what is there cannot be read as rows, or several do not
            have the same columns.
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
        raise InputError(f"the datasets do not go together: {columns}") from error


def _rows(name: str, config: str | None, split: str, skip_bad_rows: bool) -> Dataset:
    path = Path(name).expanduser()
    if not path.exists() and looks_local(name):
        raise InputError(f"no dataset at {name}")
    if path.is_file() and suffix_of(path) not in FILE_FORMATS:
        kinds = ", ".join(FILE_FORMATS)
        raise InputError(f"{name}: rows come as {kinds}, not {path.suffix!r}")
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
            fault += ": mend it, or leave it out by --skip_bad_rows true"
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
    """The slice of `rows` that a split such as `test[:5%]` or `train[10:20]` asks for.

    Raises:
        InputError: it is no slice, an empty one, or of several splits.
    """
    own = split.partition("[")[0]
    if "+" in split:
        raise InputError(f"{name} has one split: the split {split!r} asks for several")
    try:
        [part] = ReadInstruction.from_spec(split).to_absolute({own: len(rows)})
        places = range(len(rows))[part.from_ : part.to]
    except (ValueError, AssertionError) as error:
        raise InputError(f"the split {split!r} is none: {error}") from error
    if not places:
        raise InputError(f"the split {split!r} takes none of the {len(rows)} rows of {name}")
    return rows if len(places) == len(rows) else rows.select(places)


def _readable_rows(path: Path) -> Any:
    """The rows of the lines that can be read; the others are named on the terminal."""
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
            print(f"left out: {path}, {each}")
        print(f"left out: {len(left_out)} lines of {path} that cannot be read")
        if copy.stat().st_size == 0:
            raise InputError(f"cannot read the dataset {path}: not one line of it is a row")
        return load_dataset("json", data_files=str(copy), split="train", keep_in_memory=True)


def _reason_of(error: Exception) -> str:
    """The first line of what the libraries say; of what caused it where they only say that it
    happened."""
    told = error.__cause__ if isinstance(error, DatasetGenerationError) else error
    if "corresponds to no data" in str(told):
        return "it has no rows"
    return str(told or error).strip().partition("\n")[0]


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


def unique_ids(values: Iterable[object]) -> list[str]:
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


def _is_missing(value: object) -> bool:
    return value is None or value != value or not str(value).strip()


def with_prompts(
    rows: Dataset, arguments: PromptArguments, *, skip_bad_rows: bool = False
) -> Dataset:
    """The rows with a column `prompt`: their own, or made of the question.

    Raises:
        InputError: no column `prompt` and no way given to make one, or no such template or column;
            or rows without a prompt or question, and they are not to be left out.
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
    """A conversation without the assistant's turn at its end: what there is to answer."""
    answered = bool(messages) and messages[-1]["role"] == "assistant"
    return messages[:-1] if answered else messages


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


def is_empty(response: object) -> bool:
    """Whether a response, a text, a turn or messages, says nothing."""
    if isinstance(response, list):
        return not response or is_empty(response[-1])
    if isinstance(response, dict):
        said = response.get("content", response.get("value"))
        return not response.get("tool_calls") and is_empty(said)
    return response is None or not str(response).strip()
