"""TRL's batches as samples: which column holds what, and what the policy wrote.

Pure functions. In: prompts, completions and the dataset's columns. Out: samples.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from touchstone_rewards.clients.adapters.plain import plain_truth
from touchstone_rewards.clients.errors import MissingColumn
from touchstone_rewards.reward_server.schemas import Message, Sample, text_of_turn

Text = str | Sequence[dict[str, Any]]

# What TRL hands a reward function beside the dataset's columns.
OF_TRL = {"completion_ids", "trainer_state", "log_extra", "log_metric", "environments"}


@dataclass(frozen=True)
class Columns:
    """The columns of the dataset that the samples are made of; None: there is none.

    `named`: those that the caller named, which must be there.
    """

    ground_truth: str | None
    id: str
    signals: str
    metadata: Sequence[str] | None
    named: frozenset[str]


def check_columns(
    columns: Columns, given: Mapping[str, Any], needs: Sequence[str], profile: str
) -> None:
    """Raise MissingColumn if the batch lacks a column that was named or that the profile needs."""
    there = sorted({*given} - OF_TRL)
    shown = f"The batch has {', '.join(['prompt', *there])}"
    for name in (columns.ground_truth, columns.id, columns.signals, *(columns.metadata or ())):
        if name in columns.named and name not in given:
            raise MissingColumn(f"there is no column {name!r}. {shown}")
    if "ground_truth" in needs and columns.ground_truth and columns.ground_truth not in given:
        raise MissingColumn(
            f"profile {profile!r} needs ground truths, and there is no column "
            f"{columns.ground_truth!r}: name it by ground_truth_column. {shown}"
        )
    if "signals" in needs and columns.signals not in given:
        raise MissingColumn(
            f"profile {profile!r} needs signals, and there is no column {columns.signals!r}: "
            f"name it by signals_column. {shown}"
        )
    if "metadata" in needs and columns.metadata is None:
        raise MissingColumn(
            f"profile {profile!r} needs metadata: name its columns by metadata_columns. {shown}"
        )


def samples_of(
    prompts: Sequence[Text],
    completions: Sequence[Text],
    given: Mapping[str, Any],
    columns: Columns,
) -> list[Sample]:
    """Return the samples of one call. Their ids are ROW/K, K counting the completions of a row."""
    count = len(completions)
    ids = given.get(columns.id) or [prompt_id(prompt) for prompt in prompts]
    truths = given.get(columns.ground_truth or "", [None] * count)
    signals = given.get(columns.signals) or [None] * count
    metadata = {name: given[name] for name in columns.metadata or ()}
    seen: Counter[str] = Counter()
    samples: list[Sample] = []
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = str(ids[i])
        samples.append(
            Sample(
                id=f"{row}/{seen[row]}",
                response=text_of(completion),
                prompt=prompt if isinstance(prompt, str) else [_message(turn) for turn in prompt],
                ground_truth=plain_truth(truths[i]),
                group_id=row,
                signals=signals[i] or {},
                metadata={name: values[i] for name, values in metadata.items()},
            )
        )
        seen[row] += 1
    return samples


def prompt_id(prompt: Text) -> str:
    """Return an id that is the same for the same prompt in every run: 16 digits of its SHA-256."""
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()[:16]


def text_of(completion: Text) -> str:
    """Return what the policy wrote: a chat's assistant turns, without what tools answered."""
    if isinstance(completion, str):
        return completion
    turns = [_message(turn) for turn in completion]
    return "\n".join(text_of_turn(turn.content) for turn in turns if turn.role == "assistant")


def _message(turn: Mapping[str, Any]) -> Message:
    return Message(role=turn["role"], content=turn.get("content"))
