"""Compare the rewards that a trainer holds with those of `/score`, bit by bit."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

PACKED = {"float16": "<e", "float32": "<f", "float64": "<d"}


def bits(value: float, kind: str) -> str:
    """Return the bits of a number in the floating-point format `kind`, as hexadecimal digits.

    Example:
        >>> bits(1.0, "float32")
        '0000803f'
    """
    return struct.pack(PACKED[kind], value).hex()


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number, which no trainer may hold for null."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def compare(
    said: Mapping[str, float | None], found: Mapping[str, Any] | None, null: str = ""
) -> dict[str, Any]:
    """Return the verdict on one part of the samples.

    Args:
        said: the server's reward by sample id, None for null.
        found: the script's report on the part, or None.
        null: a pattern that describes the trainer's reaction to null.

    The verdict counts `equal` rewards and `nulls`, and lists rewards that differ from the server's
    (`different`), numbers held for null (`invented`), and rewards that the trainer does not hold
    although no null stopped it (`lost`). `unexpected` is a reaction that `null` does not match.

    Example:
        >>> verdict = compare({"a": 0.5, "b": None}, {"kind": "float32", "rewards": {"a": 0.5}})
        >>> verdict["equal"], verdict["nulls"], verdict["different"], verdict["invented"]
        (1, 1, [], [])
    """
    verdict = _compared(said, found)
    if found is not None and verdict["nulls"]:
        did = str(found.get("raised", found.get("then", "")))
        if not re.search(null, did):
            verdict["unexpected"] = did
    return verdict


def _compared(said: Mapping[str, float | None], found: Mapping[str, Any] | None) -> dict[str, Any]:
    if found is None:
        return {"equal": 0, "nulls": 0, "different": [], "invented": [], "lost": [*said]}
    nulls = [name for name, reward in said.items() if reward is None]
    if "raised" in found:
        # A trainer that a null stops holds no rewards. Without a null, nothing may stop it.
        lost = [] if nulls else [*said]
        return {"equal": 0, "nulls": len(nulls), "different": [], "invented": [], "lost": lost}
    held, kind = found["rewards"], found["kind"]
    equal, different, lost = 0, [], []
    for name, reward in said.items():
        if reward is None:
            continue
        value = held.get(name)
        if value is None:
            lost.append(name)
        elif is_number(value) and bits(value, kind) == bits(reward, kind):
            equal += 1
        else:
            different.append({"id": name, "score": reward, "held": value})
    invented = [{"id": name, "held": held[name]} for name in nulls if is_number(held.get(name))]
    strange = sorted({*held} - {*said})
    different += [{"id": name, "score": None, "held": held[name]} for name in strange]
    return {
        "equal": equal,
        "nulls": len(nulls),
        "different": different,
        "invented": invented,
        "lost": lost,
    }


def faults(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line per fault in the rows."""
    found: list[str] = []
    for row in rows:
        if row["status"] == "not run":
            if not row["listed"]:
                found.append(f"{row['peer']}: not run, and not listed as such: {row['why']}")
            continue
        for name, part in row["parts"].items():
            found += [
                f"{row['peer']}, {name}: {what}: {str(part[what])[:300]}"
                for what in ("different", "invented", "lost", "unexpected")
                if what in part and part[what] != []
            ]
    return found
