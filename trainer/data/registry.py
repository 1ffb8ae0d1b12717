"""Load datasets by name from a `dataset_info.json`, as LLaMA-Factory does.

Rows get a column `messages`; for ranking data `prompt`, `chosen` and `rejected`, all of them lists
of messages. Columns with another role, such as an id or a ground truth, are kept. Rows are
converted as LLaMA-Factory converts them.

Source: hiyouga/LLaMA-Factory, src/llamafactory/data/parser.py and converter.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.data.shapes import ChatTurn, Row
from touchstone_rewards.trainer.errors import InputError

REGISTRY = "dataset_info.json"
ONLINE, REMOTE = "ONLINE", "REMOTE:"

ALPACA_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
CHAT_COLUMNS = {"messages": "conversations"}
# Also for `openai`: LLaMA-Factory has one set of defaults, and such entries name their own tags.
TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
# Keys of an entry that are not supported here, and their replacements.
NOT_HERE = {
    "script_url": "file_name or hf_hub_url",
    "cloud_file_name": "file_name: the file on this machine",
    "folder": "file_name: the files on this machine",
    "num_samples": "max_samples",
}
COLUMNS_NOT_HERE = {
    "images": "rows of text alone",
    "videos": "rows of text alone",
    "audios": "rows of text alone",
    "kto_tag": "preference pairs, with dpo",
}


@dataclass(frozen=True)
class RegistryEntry:
    """One dataset of the registry: its location, and how its rows are read."""

    name: str
    source: str
    formatting: str
    ranking: bool
    subset: str | None
    split: str
    columns: Mapping[str, str]
    tags: Mapping[str, str]


def registered_rows(
    names: Sequence[str],
    folder: str,
    split: str = "train",
    max_rows: int | None = None,
    *,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return the rows of all datasets, one after the other, at most `max_rows` of each.

    A name that is not in the registry may be a file or a hub dataset; `split` applies to those
    only, an entry of the registry names its own.

    Raises:
        InputError: a name is unknown, or an entry or a row cannot be read.
    """
    if folder.startswith(REMOTE):
        raise InputError(f"dataset_dir must be a folder on this machine, not {folder}: download it")
    known = {} if folder == ONLINE else read_registry(Path(folder))
    load = partial(load_rows, skip_bad_rows=skip_bad_rows)
    parts = [_rows(load, name, known, Path(folder), split, max_rows) for name in names]
    if len(parts) == 1:
        return parts[0]
    common = set.intersection(*(set(part.column_names) for part in parts))
    if not common & {"messages", "chosen"}:
        raise InputError(
            f"{', '.join(names)} cannot be combined: give conversations or pairs, not both"
        )
    order = [name for name in parts[0].column_names if name in common]
    return concatenate_datasets([part.select_columns(order) for part in parts])


def read_registry(folder: Path) -> dict[str, object]:
    """Return the registry in a folder; empty if the folder has none.

    Raises:
        InputError: the file is not a JSON object.
    """
    path = folder / REGISTRY
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(known, dict):
        raise InputError(
            f"{path} must hold an object of names and entries, not {type(known).__name__}"
        )
    return known


def _rows(
    load: Callable[..., Dataset],
    name: str,
    known: Mapping[str, object],
    folder: Path,
    split: str,
    max_rows: int | None,
) -> Dataset:
    if name in known:
        entry = entry_of(name, known[name], folder)
        rows = load(entry.source, entry.subset, entry.split)
        return converted(_first(rows, max_rows), entry)
    if str(folder) != ONLINE and not Path(name).exists():
        where = folder / REGISTRY
        names = ", ".join(sorted(known)) if known else "which does not exist"
        raise InputError(f"no dataset {name!r} in {where} ({names}), and no file of that name")
    return _first(load(name, None, split), max_rows)


def _first(rows: Dataset, most: int | None) -> Dataset:
    return rows if most is None else rows.select(range(min(most, len(rows))))


def entry_of(name: str, told: object, folder: Path) -> RegistryEntry:
    """Return an entry of the registry with its defaults filled in.

    Raises:
        InputError: the entry is malformed, or uses a key that is not supported.
    """
    if not isinstance(told, dict):
        kind = type(told).__name__
        raise InputError(f"{folder / REGISTRY}: {name} must be an object, not {kind}")
    columns = told.get("columns") or {}
    for part, instead in NOT_HERE.items():
        if told.get(part):
            raise InputError(f"{name}: {part} is not supported; use {instead}")
    for part, instead in COLUMNS_NOT_HERE.items():
        if columns.get(part):
            raise InputError(f"{name}: column {part} is not supported; use {instead}")
    formatting = told.get("formatting", "alpaca")
    if formatting not in CONVERTERS:
        raise InputError(
            f"{name}: formatting must be one of {', '.join(CONVERTERS)}, not {formatting!r}"
        )
    source = told.get("hf_hub_url") or told.get("file_name")
    if not source:
        raise InputError(f"{name}: an entry needs file_name or hf_hub_url; it has {sorted(told)}")
    default = ALPACA_COLUMNS if formatting == "alpaca" else CHAT_COLUMNS
    return RegistryEntry(
        name=name,
        source=source if told.get("hf_hub_url") else str(folder / source),
        formatting=formatting,
        ranking=bool(told.get("ranking", False)),
        subset=told.get("subset"),
        split=told.get("split", "train"),
        # An Alpaca entry that names columns has only those; a conversation always has a column.
        columns=columns if columns and formatting == "alpaca" else {**default, **columns},
        tags={**TAGS, **(told.get("tags") or {})},
    )


def converted(rows: Dataset, entry: RegistryEntry) -> Dataset:
    """Return the rows as messages; skip rows that are not conversations, and print how many.

    Raises:
        InputError: a column that the entry names is missing, or no row can be read.
    """
    for part, column in entry.columns.items():
        # Many Alpaca files lack `input`, and their entries do not list columns.
        if column not in rows.column_names and (part, column) != ("query", "input"):
            raise InputError(
                f"{entry.name}: no column {column!r} ({part}) in the data; it has "
                f"{rows.column_names}"
            )
    read = CONVERTERS[entry.formatting]
    made = ("prompt", "chosen", "rejected") if entry.ranking else ("messages",)
    made = (*made, "tools") if "tools" in entry.columns else made
    used = {*entry.columns.values(), *made}
    kept = [name for name in rows.column_names if name not in used]
    convert = partial(_convert_batch, read=partial(read, entry=entry), made=made, kept=kept)
    found = rows.map(
        convert, batched=True, remove_columns=rows.column_names, desc=f"Reading {entry.name}"
    )
    if len(found) == 0:
        raise InputError(f"{entry.name}: no row has alternating turns with the entry's tags")
    if len(found) < len(rows):
        left = len(rows) - len(found)
        print(f"{entry.name}: {left} of {len(rows)} rows lack alternating turns: skipped")
    return found


def _convert_batch(
    batch: dict[str, list[Any]],
    read: Callable[[Row], Row | None],
    made: Sequence[str],
    kept: Sequence[str],
) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {name: [] for name in (*made, *kept)}
    for place in range(len(next(iter(batch.values())))):
        row = {name: column[place] for name, column in batch.items()}
        found = read(row)
        if found is None:
            continue
        for name in made:
            out[name].append(found.get(name))
        for name in kept:
            out[name].append(row[name])
    return out


def alpaca(row: Row, entry: RegistryEntry) -> Row | None:
    """Return a row as messages: system, history, then instruction and input joined by a line
    break."""
    value = partial(_value, row, entry)
    messages = _system(value("system"))
    for question, answer in value("history") or []:
        messages += [_said("user", question), _said("assistant", answer)]
    asked = "\n".join(part for part in (value("prompt"), value("query")) if part)
    messages.append(_said("user", asked))
    if entry.ranking:
        return _pair(messages, value("chosen"), value("rejected"), partial(_said, "assistant"))
    response = value("response")
    return {"messages": [*messages, _said("assistant", response)]} if response is not None else None


def conversation(row: Row, entry: RegistryEntry) -> Row | None:
    """Return the turns as messages; None if they do not alternate as LLaMA-Factory requires."""
    tags = entry.tags
    turns = list(_value(row, entry, "messages") or [])
    system = _value(row, entry, "system")
    if turns and turns[0].get(tags["role_tag"]) == tags["system_tag"]:
        system, turns = turns[0][tags["content_tag"]], turns[1:]
    asking = (tags["user_tag"], tags["observation_tag"])
    answering = (tags["assistant_tag"], tags["function_tag"])
    for place, turn in enumerate(turns):
        if turn.get(tags["role_tag"]) not in (asking, answering)[place % 2]:
            return None
    if len(turns) % 2 != entry.ranking or not turns:
        return None
    message = partial(_turn, tags=tags)
    messages = [*_system(system), *map(message, turns)]
    if entry.ranking:
        sides = (_value(row, entry, "chosen"), _value(row, entry, "rejected"))
        return _pair(messages, *sides, message)
    tools = _value(row, entry, "tools")
    return {"messages": messages, "tools": _tools(tools)} if tools else {"messages": messages}


def _pair(
    messages: list[ChatTurn], chosen: object, rejected: object, message: Callable[[Any], ChatTurn]
) -> Row | None:
    if not chosen or not rejected:
        return None
    return {"prompt": messages, "chosen": [message(chosen)], "rejected": [message(rejected)]}


def _turn(turn: Row, tags: Mapping[str, str]) -> ChatTurn:
    role, content = turn.get(tags["role_tag"]), turn.get(tags["content_tag"])
    if role == tags["function_tag"]:
        return {"role": "assistant", "content": "", "tool_calls": list(_calls(content))}
    names = {tags["user_tag"]: "user", tags["observation_tag"]: "tool"}
    return _said(names.get(str(role), "assistant"), content)


def _calls(content: Any) -> Iterator[ChatTurn]:
    """Yield the tool calls in the JSON of a `function_call` turn."""
    try:
        found = json.loads(content)
        for call in found if isinstance(found, list) else [found]:
            arguments = call["arguments"]
            parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
            # As text: all rows of a dataset need arguments of one type.
            text = json.dumps(parsed, ensure_ascii=False)
            yield {"type": "function", "function": {"name": call["name"], "arguments": text}}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"a tool call must be JSON with name and arguments, not {content!r:.80}"
        ) from error


def _tools(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(row: Row, entry: RegistryEntry, part: str) -> Any:
    column = entry.columns.get(part)
    return row.get(column) if column else None


def _system(text: object) -> list[ChatTurn]:
    return [_said("system", text)] if text else []


def _said(role: str, content: object) -> ChatTurn:
    return {"role": role, "content": content}


CONVERTERS = {"alpaca": alpaca, "sharegpt": conversation, "openai": conversation}
