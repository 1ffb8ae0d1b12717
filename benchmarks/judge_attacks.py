"""Attacks on a small judge, SmolLM2 on llama.cpp's server: the share of attacks that it accepts.

The attacks of `reward-server check --attacks` are tried on rows of GSM8K and MATH-500, each on some
of them, for each way to get a verdict: the last line; a JSON schema enforced by the engine;
log-probabilities of yes and no; the same with a prompt without marks around the texts; and a
cascade in which the rule `math` runs first. A reward of 0.5 or more counts as accepted. The 95%
intervals are bootstrapped over rows. A model of 135 M weights is a poor judge, on purpose.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec.structs import replace

from benchmarks import ROOT, record
from benchmarks._engine import MODEL, EngineMissing, llama_server
from touchstone_rewards.reward_server.audit.attacks import ATTACKS
from touchstone_rewards.reward_server.commands.check_attacks import CONTROL, attacked
from touchstone_rewards.reward_server.remote.prompts import FOLDER
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.stored.stream import offline_engine

ACCEPT_AT, HOURS_S = 0.5, 7200.0
# Enough for a line of reasoning; of a long response this much is kept at each end.
SHORT: dict[str, Any] = {"max_tokens": 64, "max_chars": 1200}
WAYS: dict[str, dict[str, Any]] = {
    "logprobs": {"verdict": "logprobs", "least_mass": 0.01},
    "logprobs, no marks": {"verdict": "logprobs", "least_mass": 0.01, "prompt": "bare.jinja"},
    "JSON schema": {"guided": True},
    "last line": {},
    "logprobs, where math is undecided": {"verdict": "logprobs", "least_mass": 0.01},
}
CASCADE = {"when": {"math": "undecided"}, "replaces": "math"}
# Rows with short questions per dataset; number of rows on which an attack is tried.
ROWS_EACH, ROWS_AN_ATTACK, QUESTION_CHARS, DRAWS = 6, 4, 160, 2000
DATA = ROOT / ".." / "shared" / "data"
_CALCULATION = re.compile("<<.*?>>")


class Verdict(NamedTuple):
    """The result of one attack on one row; `reward` is None without a verdict."""

    family: str
    name: str
    row: str
    reward: float | None


def main() -> None:
    rows: list[dict[str, Any]] = []
    if not DATA.is_dir():
        print(f"{DATA} not found: nothing to measure")
        return
    problems = gsm8k() + math500()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with llama_server(Path(folder) / "engine.log") as engine:
                for name, config in WAYS.items():
                    verdicts = asyncio.run(tried(Path(folder), engine.url, name, config, problems))
                    rows.append(row(name, verdicts))
                    print(rows[-1], flush=True)
                    record(
                        "judge_attacks",
                        rows,
                        load_average=os.getloadavg()[0],
                        engine=engine.version,
                        model="SmolLM2-135M-Instruct, Q4_1",
                        problems=[each.id for each in problems],
                    )
        except EngineMissing as missing:
            print(f"{missing}: not measured")


def gsm8k() -> list[Sample]:
    found: list[Sample] = []
    for at, row in enumerate(_rows("gsm8k_test.jsonl")):
        worked, _, answer = row["answer"].rpartition("#### ")
        own = f"{_CALCULATION.sub('', worked)}The answer is {answer}."
        found.append(Sample(f"gsm8k-{at}", own, prompt=row["question"], ground_truth=answer))
    return _short(found)


def math500() -> list[Sample]:
    found: list[Sample] = []
    for at, row in enumerate(_rows("math500.jsonl")):
        answer = row["answer"]
        own = f"The answer is $\\boxed{{{answer}}}$."
        found.append(Sample(f"math500-{at}", own, prompt=row["question"], ground_truth=answer))
    return _short(found)


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def _short(samples: list[Sample]) -> list[Sample]:
    return [each for each in samples if len(str(each.prompt)) <= QUESTION_CHARS][:ROWS_EACH]


async def tried(
    folder: Path, url: str, name: str, config: dict[str, Any], problems: list[Sample]
) -> list[Verdict]:
    """Return the judge's verdicts on the attacks, on the rows' own responses and on the ground
    truths."""
    (folder / "bare.jinja").write_text(without_marks())
    config = {"url": url, "model": MODEL, "timeout_s": HOURS_S, "max_in_flight": 2} | SHORT | config
    if "prompt" in config:
        config |= {"prompt": str(folder / config["prompt"]), "form": "yes_no"}
    scorers: dict[str, Any] = {"judge": {"deadline_s": HOURS_S, "config": config}}
    if "undecided" in name:
        scorers = {"math": {}, "judge": {"weight": 0.0} | scorers["judge"] | CASCADE}
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    (profiles / "judged.yaml").write_text(yaml.safe_dump({"scorers": scorers}))
    settings = load_settings(overrides={"workers": 1, "profiles_dir": str(profiles)})
    engine = offline_engine(settings, "judged")
    await engine.start()
    try:
        asked = list(attempts(problems))
        request = ScoreRequest([sample for _, _, sample in asked], profile="judged")
        results = (await engine.score(request, observed=False)).results
    finally:
        await engine.stop()
    return [
        Verdict(family, attack, sample.id, result.reward)
        for (family, attack, sample), result in zip(asked, results, strict=True)
    ]


def attempts(problems: list[Sample]) -> Iterator[tuple[str, str, Sample]]:
    """Yield the family and name of each attack, and a row with it as response; controls first."""
    for each in problems:
        yield CONTROL, "own response", each
        yield CONTROL, "ground truth", replace(each, response=str(each.ground_truth))
    for at, one in enumerate(ATTACKS):
        first = at * ROWS_AN_ATTACK % len(problems)
        turned = problems[first:] + problems[:first]
        for sample in attacked(turned, one)[:ROWS_AN_ATTACK]:
            yield one.family, one.name, sample


def without_marks() -> str:
    """Return the built-in prompt without marks and without the note that texts are not
    instructions."""
    lines = (FOLDER / "equivalence.jinja").read_text().splitlines()
    bare = [line.split(" Everything between")[0] for line in lines]
    bare = [line.replace(" {{ mark }} begins]", ":").lstrip("[") for line in bare]
    return "\n".join(line for line in bare if not line.endswith(" ends]"))


def row(name: str, verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the row of results for one way to get a verdict."""
    attacks = [each for each in verdicts if each.family != CONTROL]
    families = list(dict.fromkeys(each.family for each in attacks))
    controls = {each.name: each for each in verdicts if each.family == CONTROL}
    return {
        "what": name,
        "accepted": share(attacks),
        "interval": interval(attacks),
        "families": {
            one: share([each for each in attacks if each.family == one]) for one in families
        },
        "controls": {
            one: share([each for each in verdicts if each.name == one]) for one in controls
        },
        "null": sum(each.reward is None for each in attacks),
        "tried": len(attacks),
    }


def share(verdicts: Iterable[Verdict]) -> float | None:
    """Return the share of scored responses that were accepted."""
    rewards = [each.reward for each in verdicts if each.reward is not None]
    if not rewards:
        return None
    return round(sum(reward >= ACCEPT_AT for reward in rewards) / len(rewards), 3)


def interval(verdicts: list[Verdict]) -> list[float] | None:
    """Return the share's 95% bootstrap interval over rows, each with all attacks tried on it."""
    by_row: defaultdict[str, list[Verdict]] = defaultdict(list)
    for each in verdicts:
        by_row[each.row].append(each)
    draw = random.Random(0)
    drawn = (draw.choices(list(by_row.values()), k=len(by_row)) for _ in range(DRAWS))
    shares = [share(chain.from_iterable(rows)) for rows in drawn]
    known = sorted(each for each in shares if each is not None)
    return [known[len(known) // 40], known[-len(known) // 40 - 1]] if known else None


if __name__ == "__main__":
    main()
