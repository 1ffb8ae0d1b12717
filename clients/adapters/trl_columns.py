"""Make samples from what TRL passes: prompts, completions and the dataset's columns.

Pure functions.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from touchstone_rewards.clients.adapters.plain import plain_truth, what_is_plain
from touchstone_rewards.clients.errors import MissingColumn
from touchstone_rewards.reward_server.schemas import (
    Message,
    ProfileInfo,
    RouteInfo,
    Sample,
    text_of_turn,
)

ChatOrText = str | Sequence[dict[str, Any]]

# The default field of the step on which a profile's weights may depend.
STEP_FIELD = "metadata.step"
# Keyword arguments that TRL passes in addition to the dataset's columns.
OF_TRL = {"completion_ids", "trainer_state", "log_extra", "log_metric", "environments"}


@dataclass(frozen=True)
class DatasetColumns:
    """The names of the dataset's columns. `ground_truth` is None if there is none.

    `named`: the columns that the caller named explicitly; they must exist.
    """

    ground_truth: str | None
    id: str
    signals: str
    metadata: Sequence[str] | None
    named: frozenset[str]


def check_columns(
    columns: DatasetColumns, given: Mapping[str, Any], needs: Sequence[str], profile: str
) -> None:
    """Raise MissingColumn if the batch lacks a column that is named or that the profile needs."""
    there = sorted({*given} - OF_TRL)
    shown = f"The batch has {', '.join(['prompt', *there])}"
    for name in (columns.ground_truth, columns.id, columns.signals, *(columns.metadata or ())):
        if name in columns.named and name not in given:
            raise MissingColumn(f"no column {name!r}. {shown}")
    if "ground_truth" in needs and columns.ground_truth and columns.ground_truth not in given:
        raise MissingColumn(
            f"profile {profile!r} needs ground truths, but there is no column "
            f"{columns.ground_truth!r}: set ground_truth_column. {shown}"
        )
    if "signals" in needs and columns.signals not in given:
        raise MissingColumn(
            f"profile {profile!r} needs signals, but there is no column {columns.signals!r}: "
            f"set signals_column. {shown}"
        )
    named = columns.metadata is not None
    if "metadata" in needs and not named and not metadata_of(columns, given, needs):
        raise MissingColumn(
            f"profile {profile!r} needs metadata, but there is no column for it: set "
            f"metadata_columns. {shown}"
        )


def check_route(given: Mapping[str, Any], route: RouteInfo | None, profile: str) -> None:
    """Raise MissingColumn if the batch lacks the column that decides the profile's route."""
    if route is None or route.otherwise != "error":
        return
    name = column_of(route)
    if name not in given:
        there = ", ".join(sorted({*given} - OF_TRL))
        raise MissingColumn(
            f"profile {profile!r} routes by {route.by}, but there is no column {name!r}. The batch "
            f"has {', '.join(['prompt', there] if there else ['prompt'])}"
        )


def column_of(route: RouteInfo) -> str:
    """Return the name of the column that decides a route."""
    return route.by.split(".")[1]


def metadata_of(
    columns: DatasetColumns,
    given: Mapping[str, Any],
    reads: Sequence[str],
    route: RouteInfo | None = None,
) -> list[str]:
    """Return the columns to send as metadata: the named ones and the one that decides the route. If
    none are named and the profile reads metadata, all columns without another meaning."""
    if columns.metadata is not None:
        deciding = [column_of(route)] if route and column_of(route) in given else []
        return list(dict.fromkeys([*columns.metadata, *deciding]))
    if "metadata" not in reads:
        return []
    taken = {*OF_TRL, columns.ground_truth, columns.id, columns.signals}
    return [name for name in given if name not in taken]


def samples_of(
    prompts: Sequence[ChatOrText],
    completions: Sequence[ChatOrText],
    given: Mapping[str, Any],
    columns: DatasetColumns,
    profile: ProfileInfo | None = None,
) -> list[Sample]:
    """Return the samples of one call. Their ids are ROW/K, where K counts a row's completions.

    `profile`: its description, if known. A profile that judges turns gets a chat's messages.
    """
    reads, route = (profile.reads, profile.route) if profile else ((), None)
    turns = profile is not None and profile.turns
    count = len(completions)
    ids = given.get(columns.id) or [prompt_id(prompt) for prompt in prompts]
    truths = given.get(columns.ground_truth or "", [None] * count)
    signals = given.get(columns.signals) or [None] * count
    metadata = {name: given[name] for name in metadata_of(columns, given, reads, route)}
    step = step_of(given)
    by_step = profile is not None and STEP_FIELD in profile.schedules and step is not None
    if by_step and "step" not in metadata:
        metadata["step"] = [step] * count
    unnamed = columns.metadata is None  # then columns that JSON cannot represent are omitted
    seen: Counter[str] = Counter()
    samples: list[Sample] = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = str(ids[i])
        samples.append(
            Sample(
                id=f"{row}/{seen[row]}",
                response=_messages(completion) if turns else text_of(completion),
                prompt=prompt if isinstance(prompt, str) else [_message(turn) for turn in prompt],
                ground_truth=plain_truth(truths[i]),
                group_id=row,
                signals=signals[i] or {},
                metadata=what_is_plain(row_of(metadata, i)) if unnamed else row_of(metadata, i),
            )
        )
        seen[row] += 1
    return samples


def step_of(given: Mapping[str, Any]) -> int | None:
    """Return the number of updates in TRL's state; None if TRL does not pass its state."""
    return getattr(given.get("trainer_state"), "global_step", None)


def row_of(columns: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return one row of the columns."""
    return {name: values[place] for name, values in columns.items()}


def prompt_id(prompt: ChatOrText) -> str:
    """Return an id that depends on the prompt alone: 16 digits of its SHA-256."""
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]


def text_of(completion: ChatOrText) -> str:
    """Return the policy's text: a chat's assistant turns, without the tools' answers."""
    if isinstance(completion, str):
        return completion
    turns = [_message(turn) for turn in completion]
    return "\n".join(text_of_turn(turn.content) for turn in turns if turn.role == "assistant")


def _messages(completion: ChatOrText) -> Any:
    """Return a text, or the messages of a rollout, including the tools' answers."""
    return completion if isinstance(completion, str) else [_message(turn) for turn in completion]


def _message(turn: Mapping[str, Any]) -> Message:
    return Message(turn["role"], turn.get("content"), turn.get("tool_calls"))
