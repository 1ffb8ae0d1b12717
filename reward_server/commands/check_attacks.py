"""`reward-server check --attacks PROFILE`: measure how often a profile accepts attacks on judges.

For each attack it reports the share of rows whose reward reaches that of an accepted answer, and
the number that could not be scored. As controls it scores the rows' own responses and their ground
truths: a profile that accepts nothing would withstand every attack.
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

# Used as the wrong answer if no other row has a different answer.
WRONG = "-271828"
CONTROL = "control"


class AttackOutcome(Struct):
    """The outcome of one attack. `accepted`: a share of the `scored`; None if none was scored."""

    family: str
    name: str
    tried: int
    scored: int
    accepted: float | None
    mean_reward: float | None
    first_error: str | None


class AttackReport(Struct):
    """The outcomes of all attacks on a profile. `worst`: the greatest accepted share; None if an
    attack could not be scored at all."""

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
    """Return the outcome of every attack, tried on each row with this profile.

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
    """Return the rows with an attack as their response, without rows that it answers correctly."""
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
    """Return the controls: the rows with their own responses, and with their ground truths."""
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
    """Try the attacks, print a table, write the report; return 1 if one is accepted too often or
    could not be scored at all."""
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
