"""`reward-server check --attacks PROFILE`: how often a profile accepts attacks on judges.

In: rows. Out: for each attack the share of rows where its reward is as high as a right answer's is
to be, and how many could not be scored. Beside them stands what the rows' own responses and their
ground truths get: a profile that accepts nothing withstands every attack.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, structs, to_builtins
from rich.console import Console
from rich.table import Table

from touchstone_rewards.reward_server.audit.attacks import ATTACKS, Attack
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest, is_list
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.stream import offline_engine

# Of rows that have no other row's answer: no one's.
WRONG = "-271828"
CONTROL = "control"


class AttackOutcome(Struct):
    """What one attack came to. `accepted`: of the `scored`, a share; None where none was scored."""

    family: str
    name: str
    tried: int
    scored: int
    accepted: float | None
    mean_reward: float | None
    first_error: str | None


class AttackReport(Struct):
    """What a profile makes of all attacks. `worst`: the greatest share; None where an attack could
    not be scored at all."""

    profile: str
    fingerprint: str
    rows: int
    accept_at: float
    worst: float | None
    attacks: list[AttackOutcome]
    controls: list[AttackOutcome]


async def attack(
    settings: Settings, profile: str, rows: Sequence[Sample], accept_at: float
) -> AttackReport:
    """Return what the profile makes of every attack, tried on each row.

    Raises:
        ConfigError: there is no such profile, or it cannot be loaded.
    """
    engine = offline_engine(settings, profile)
    await engine.start()
    try:
        controls = [await _tried(engine, profile, accept_at, *each) for each in _controls(rows)]
        found = [
            await _tried(engine, profile, accept_at, each.family, each.name, attacked(rows, each))
            for each in ATTACKS
        ]
        fingerprint = engine.profiles[profile].fingerprint
    finally:
        await engine.stop()
    shares = [each.accepted for each in found if each.tried]
    known = [share for share in shares if share is not None]
    worst = max(known) if known and len(known) == len(shares) else None
    return AttackReport(profile, fingerprint, len(rows), accept_at, worst, found, controls)


def attacked(rows: Sequence[Sample], attack: Attack) -> list[Sample]:
    """Return the rows with an attack as their response; a row is left out whose answer it is."""
    found: list[Sample] = []
    for at, row in enumerate(rows):
        right = _answers(row)
        others = [each for other in [*rows[at + 1 :], *rows[:at]] for each in _answers(other)]
        wrong = next((each for each in others if each not in right), WRONG)
        response = attack.response(wrong)
        if response.strip() not in right:
            found.append(structs.replace(row, response=response))
    return found


def _controls(rows: Sequence[Sample]) -> list[tuple[str, str, list[Sample]]]:
    """What is no attack: the rows as they came, and their ground truths as responses."""
    truths = [structs.replace(row, response=answer) for row in rows for answer in _answers(row)[:1]]
    return [(CONTROL, "own response", list(rows)), (CONTROL, "ground truth", truths)]


def _answers(row: Sample) -> list[str]:
    truth = row.ground_truth
    return [str(each).strip() for each in (truth if is_list(truth) else [truth]) if each]


async def _tried(
    engine: Engine,
    profile: str,
    accept_at: float,
    family: str,
    name: str,
    samples: Sequence[Sample],
) -> AttackOutcome:
    request = ScoreRequest(list(samples), profile=profile)
    results = (await engine.score(request, observed=False)).results
    rewards = [result.reward for result in results if result.reward is not None]
    errors = [result.error.message for result in results if result.error is not None]
    return AttackOutcome(
        family=family,
        name=name,
        tried=len(results),
        scored=len(rewards),
        accepted=sum(one >= accept_at for one in rewards) / len(rewards) if rewards else None,
        mean_reward=sum(rewards) / len(rewards) if rewards else None,
        first_error=errors[0] if errors else None,
    )


def run_attacks(
    settings: Settings,
    profile: str,
    rows: Sequence[Sample],
    *,
    accept_at: float,
    max_accepted: float,
    output: Path | None,
) -> int:
    """Try the attacks, print a table, write the report; 1 if one is accepted too often or could
    not be scored at all."""
    if output is not None and output.exists():
        raise ConfigError(f"output {output} exists; give another name")
    report = asyncio.run(attack(settings, profile, rows, accept_at))
    if output is not None:
        text = json.dumps(to_builtins(report), indent=2, ensure_ascii=False)
        output.write_text(text + "\n", encoding="utf-8")
    console = Console(soft_wrap=True)
    console.print(_table(report))
    passed = report.worst is not None and report.worst <= max_accepted
    worst = "an attack could not be scored" if report.worst is None else f"{report.worst:.0%}"
    console.print(
        f"{profile}, fingerprint {report.fingerprint}: at most {worst} of {report.rows} rows "
        f"accepted; {max_accepted:.0%} are allowed"
    )
    return 0 if passed else 1


def _table(report: AttackReport) -> Table:
    table = Table("family", "attack", "accepted", "mean reward", "null", box=None)
    for each in [*report.controls, *report.attacks]:
        share = "-" if each.accepted is None else f"{each.accepted:.0%}"
        mean = "-" if each.mean_reward is None else f"{each.mean_reward:.3g}"
        table.add_row(each.family, each.name, share, mean, str(each.tried - each.scored))
    return table
