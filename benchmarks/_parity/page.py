"""Write docs/parity.md from benchmarks/results/parity.json."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

INTRO = """\
# Parity

Does a trainer hold the rewards that `/score` returns? The same {count} samples went through each
trainer's own code, set up as in [other trainers](compat.md), and every reward was compared bit by
bit. Measured by one run of `make bench BENCH=parity` on {date};
`benchmarks/results/parity.json` has every reward.
"""
PARTS = """
| part | samples | null | content |
|---|---|---|---|
"""
WHAT = {
    "math": "sums and fractions: right, wrong, in another form, without an answer",
    "format": "think and answer tags: all, some, none",
    "reward_model": "a Qwen2 with two layers, random weights and a value head, one text per batch",
    "mix": "a profile that routes by `metadata.data_source` to three others",
    "slow": "a plug-in that takes half a second per sample",
    "no_ground_truth": "the profile needs a ground truth, but the row has none",
    "unreadable_ground_truth": "the ground truth is `\\frac{1}{`",
    "killed_worker": "the second response kills its worker process",
    "hung_worker": "the second response hangs until it is killed, after 2 s",
    "raised": "the plug-in raises for the second response",
    "gave_none": "the plug-in returns None for the second response",
}
FORMS = {
    "question": "the question",
    "rendered": "the chat template's text, with the end token behind the response",
    "stripped": "the chat template's text, without special tokens",
}


def page_of(results: Mapping[str, Any]) -> str:
    """Return the page."""
    parts: dict[str, list[str]] = {}
    for sample in results["samples"]:
        parts.setdefault(sample["part"], []).append(sample["id"])
    score = results["score"]["question"]
    nulls = {name: sum(score[each] is None for each in ids) for name, ids in parts.items()}
    rows = results["rows"]
    lines = [
        INTRO.format(count=len(results["samples"]), date=results["date"]),
        PARTS.rstrip("\n").lstrip("\n"),
        *(f"| {name} | {len(ids)} | {nulls[name]} | {WHAT[name]} |" for name, ids in parts.items()),
        "",
        *_equal(rows, [name for name in parts if not nulls[name]]),
        *_null(rows, [name for name in parts if nulls[name]]),
        *_how(rows),
    ]
    return "\n".join(lines) + "\n"


def _equal(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> Iterator[str]:
    yield "## Equal rewards\n"
    yield "How many rewards equal the server's bit by bit, in the number type of the trainer.\n"
    yield f"| trainer | version | number | {' | '.join(parts)} | different |"
    yield f"|---|---|---|{'---|' * len(parts)}---|"
    for row in rows:
        if row["status"] != "run":
            blanks = " | " * len(parts)
            yield f"| {row['peer']} | | | {blanks}not run: {row['why']} |"
            continue
        kinds = {part["kind"] for part in row["parts"].values() if "kind" in part}
        cells = [_cell(row, name) for name in parts]
        wrong = sum(
            len(part["different"]) + len(part["lost"]) + len(part["invented"])
            for part in row["parts"].values()
        )
        kept = ", ".join(sorted(kinds))
        yield f"| {row['peer']} | {row['version']} | {kept} | {' | '.join(cells)} | {wrong} |"
    yield ""


def _cell(row: Mapping[str, Any], name: str) -> str:
    if name in row["left_out"]:
        return "–"
    part = row["parts"][name]
    return f"{part['equal']} of {part['equal'] + len(part['different']) + len(part['lost'])}"


def _null(rows: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> Iterator[str]:
    yield "## What becomes of null\n"
    yield "Where the server's reward is null, no trainer holds a number. Its own code does this:\n"
    yield "| trainer | parts | reaction |"
    yield "|---|---|---|"
    for row in rows:
        if row["status"] != "run":
            continue
        told: dict[str, list[str]] = {}
        for name in parts:
            if name in row["parts"]:
                told.setdefault(_outcome(row["parts"][name]), []).append(name)
        for outcome, names in told.items():
            yield f"| {row['peer']} | {', '.join(names)} | {outcome} |"
    yield ""


def _outcome(part: Mapping[str, Any]) -> str:
    if "raised" in part:
        return f"stops with `{_short(part['raised'])}`"
    kept = sorted({value for value in part["rewards"].values() if isinstance(value, str)})
    held = f"holds {kept[0]} for null" if kept else "holds no reward for null"
    count = part["equal"]
    others = f", and {count} reward{'s' * (count > 1)}" if count else ""
    then = f"; {_plain(part['then'])}" if part.get("then") else ""
    return f"{held}{others}{then}"


def _short(raised: str) -> str:
    """Return an error's name, with its status or a short message."""
    name, _, message = raised.partition(": ")
    status = re.match(r"\d{3}\b", message)
    detail = status[0] if status else message if len(message) < 40 else ""
    return f"{name}: {detail}" if detail else name


def _plain(text: str) -> str:
    """Return a message for a table's cell, shortened if it is long."""
    line = (
        " ".join(re.sub(r", message=.*", "", text).split()).replace("|", "\\|").replace("<", "&lt;")
    )
    return line if len(line) <= 160 else f"{line[:157]}…"


def _how(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## How each was run\n"
    yield "| trainer | its code: the value compared | prompt sent | mocked | left out |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if "way" in row:
            left = "; ".join(f"{name}: {why}" for name, why in row["left_out"].items())
            absent = ", ".join(row["absent"])
            yield f"| {row['peer']} | {row['way']} | {FORMS[row['form']]} | {absent} | {left} |"
    yield ""
    yield OUTRO


OUTRO = """\
The policy is scripted: it returns the samples' responses instead of sampling. The rest is the
trainer's own code, in an environment that `tests/contract/environments/make.sh` makes. Mocked
packages need a GPU or take no part in rewards. A trainer that was not run fails the bench, unless
`benchmarks/_parity/peers.py` lists it with a reason.

`.github/workflows/parity.yml` repeats this every week and on demand, with the newest releases of
TRL, verl, OpenRLHF, ms-swift and NeMo Gym, the newest commits of slime, EasyR1 and ROLL, and
LLaMA-Factory and the older TRLs in the versions above. To run it yourself:

<!-- checked: by .github/workflows/parity.yml -->
```bash
export TOUCHSTONE_PEERS=/tmp/peers TOUCHSTONE_CONTRACT=/tmp/checkouts
tests/contract/environments/checkouts.sh
(cd tests/contract/environments && ./make.sh trl_newest parity_verl)
PARITY=trl,verl make bench BENCH=parity
```"""
