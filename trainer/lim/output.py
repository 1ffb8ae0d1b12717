"""Write a selection to disk: training rows, every prompt's score, and a dataset card.

Files: `selected.jsonl`, `sft.jsonl`, `scores.jsonl`, `README.md`. The card makes the folder a
dataset with two configurations: `default`, prompts for RL, and `sft`, prompts with a right
response.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from touchstone_rewards.trainer.data.rows import ensure_sample_ids, load_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.lim.table import Facts

SELECTED, SFT, SCORES = "selected.jsonl", "sft.jsonl", "scores.jsonl"


@dataclass
class Selection:
    """A selection; `rows` are the indices of the kept prompts in `prompts`, which are ids (or
    LIMR's texts)."""

    prompts: list[str]
    scores: Float[np.ndarray, " prompts"]
    rows: Int[np.ndarray, " kept"]
    facts: dict[str, Facts]
    matrix: Float[np.ndarray, "prompts epochs"]

    def line(self) -> str:
        """Summarize the selection in one line."""
        scored = int((~np.isnan(self.scores)).sum())
        return f"kept {len(self.rows)} of {scored} scored prompts ({len(self.prompts)} seen)"


def write_selection(
    folder: Path, selection: Selection, dataset: str | None, method: str, about: dict[str, Any]
) -> None:
    """Write the four files; `selected.jsonl` comes last, so that its existence marks a complete
    folder.

    Raises:
        InputError: the dataset lacks some of the kept prompts.
    """
    rows = list(_dataset_rows(selection, dataset) if dataset else _sample_rows(selection))
    marked = [{**row, "selected_by": method} for row, _ in rows]
    # The prompt as the policy saw it, which is not always a column of the dataset.
    taught = [
        {"id": row["id"], "prompt": prompt, "response": row["response"]}
        for row, facts in rows
        if row.get("response") is not None and (prompt := json.loads(facts.prompt)) is not None
    ]
    _write(folder / SCORES, _score_rows(selection))
    if taught:
        _write(folder / SFT, taught)
    (folder / "README.md").write_text(card(about, bool(taught)), encoding="utf-8")
    _write(folder / SELECTED, marked)


def card(about: dict[str, Any], has_sft: bool) -> str:
    """Return the dataset card: the file of each configuration, and the origin of the rows."""
    configs = [("default", SELECTED)] + ([("sft", SFT)] if has_sft else [])
    lines = ["---", "configs:"]
    for name, file in configs:
        lines += [f"- config_name: {name}", f"  data_files: {file}"]
    lines += ["---", "", "# Selected prompts", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    lines += [
        "",
        f"`{SCORES}` has the score of every prompt. Made by `trainer lim`; see `run.json`.",
    ]
    return "\n".join(lines) + "\n"


def _score_rows(selection: Selection) -> Iterator[dict[str, object]]:
    places = set(selection.rows.tolist())
    for place, prompt in enumerate(selection.prompts):
        score = float(selection.scores[place])
        row = {"id": prompt, "score": None if np.isnan(score) else score, "kept": place in places}
        values = selection.matrix[place]
        yield {**row, "epochs": [None if np.isnan(v) else round(float(v), 6) for v in values]}


def _sample_rows(selection: Selection) -> Iterator[tuple[dict[str, object], Facts]]:
    """Yield the kept prompts as the samples show them."""
    for place in selection.rows:
        prompt = selection.prompts[place]
        facts = selection.facts.get(prompt, Facts(json.dumps(prompt).encode()))
        row = {
            "id": prompt,
            "prompt": json.loads(facts.prompt),
            "ground_truth": json.loads(facts.ground_truth),
            "response": None if facts.response is None else json.loads(facts.response),
            "score": float(selection.scores[place]),
        }
        yield row, facts


def _dataset_rows(selection: Selection, name: str) -> Iterator[tuple[dict[str, object], Facts]]:
    """Yield the kept rows of the training dataset, found by their ids or their prompts."""
    source = ensure_sample_ids(load_rows(name))
    wanted = {selection.prompts[place]: place for place in selection.rows}
    column = "id" if wanted.keys() & set(source["id"]) else "prompt"
    if column not in source.column_names:
        raise InputError(f"{name} has no id of the samples and no column 'prompt'")
    if column == "prompt":  # texts are compared without surrounding white space
        wanted = {text.strip(): place for text, place in wanted.items()}
    found: set[str] = set()
    for row in source:
        text = str(row[column])  # type: ignore[index]
        key = text.strip() if column == "prompt" else text
        place = wanted.get(key)
        if place is None or key in found:
            continue
        found.add(key)
        facts = selection.facts.get(selection.prompts[place], Facts())
        response = json.loads(facts.response) if facts.response else None
        extra = {"response": response} if response is not None else {}
        yield {**row, **extra, "score": float(selection.scores[place])}, facts  # type: ignore[dict-item]
    if len(found) < len(wanted):
        lost = next(iter(wanted.keys() - found))
        raise InputError(
            f"{len(wanted) - len(found)} kept prompts are not in {name}, such as {lost[:80]!r}"
        )


def _write(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, default=str) + "\n")
