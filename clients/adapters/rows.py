"""Make a sample from a row of a trainer's dataset, by the usual names of its fields.

Pure functions. `plain.py` removes the fields that the profile does not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from touchstone_rewards.clients.adapters.plain import plain
from touchstone_rewards.reward_server.schemas import Message, Sample, is_list, is_object

PROMPT_KEYS = ("prompt", "question", "messages")


def from_row(
    name: str,
    response: str,
    ground_truth: Any,
    row: Mapping[str, Any],
    *,
    group: str | None = None,
    prompt_key: str | None = None,
) -> Sample:
    """Return a sample with the row's fields. `prompt_key` names the prompt's field if it is not one
    of `PROMPT_KEYS`."""
    keys = (prompt_key,) if prompt_key else PROMPT_KEYS
    found = next((row[key] for key in keys if row.get(key) is not None), None)
    taken = {*keys, "signals", "group_id"}
    return Sample(
        id=name,
        response=response,
        prompt=None if found is None else prompt_of(found),
        ground_truth=ground_truth,
        group_id=row.get("group_id") or group,
        signals=_mapping(row.get("signals")),
        metadata={key: value for key, value in row.items() if key not in taken},
    )


def _mapping(value: Any) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def prompt_of(value: Any) -> str | list[Message] | None:
    """Return a prompt as text, or as the turns of a chat without a final assistant turn."""
    if isinstance(value, str):
        return str(value)
    turns = plain(value)
    if not is_list(turns):
        return None
    chat = [
        Message(str(turn["role"]), turn.get("content"), turn.get("tool_calls"))
        for turn in turns
        if is_object(turn) and "role" in turn
    ]
    if chat and chat[-1].role == "assistant":
        chat.pop()
    return chat or None
