"""`reward-server check`: load everything the settings name, score known samples, exit 0 or 1.

Each sample is scored alone and in one request with all others; whole groups are scored in two
orders. A reward that differs or is missing fails the check. Models compare their batches with
single inputs while they load, and endpoints of reward models are compared with the model in a local
folder. With `--attacks`, attacks on judges are tried against one profile instead; see
`check_attacks.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from touchstone_rewards.reward_server.commands.check_attacks import run_attacks
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.errors import ConfigError, RequestError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.remote import proven_first
from touchstone_rewards.reward_server.scoring.turns import as_texts
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.read import read_samples
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

# The last bits of a score may differ between a sample alone and the same one among others; in half
# precision, the first that are kept.
TOLERANCE, HALF_PRECISION_TOLERANCE = 1e-4, 1e-1


class CheckOutcome(NamedTuple):
    """The outcome for one profile or model."""

    what: str
    good: bool
    said: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="your own samples to score, JSONL"
    )
    parser.add_argument(
        "--attacks",
        metavar="PROFILE",
        help="try attacks on judges against this profile, for each row of the input",
    )
    parser.add_argument(
        "--accept_at",
        type=float,
        default=0.5,
        metavar="REWARD",
        help="an attack with at least this reward counts as accepted [0.5]",
    )
    parser.add_argument(
        "--max_accepted",
        type=float,
        default=0.0,
        metavar="FRAC",
        help="exit 1 if any attack is accepted for a larger share of the rows [0]",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the report of the attacks, JSON"
    )
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if arguments.attacks is not None:
        return run_attacks(
            settings,
            arguments.attacks,
            _samples(arguments.input),
            accept_at=arguments.accept_at,
            max_accepted=arguments.max_accepted,
            output=arguments.output,
        )
    if arguments.output is not None:
        raise ConfigError(
            "--output is given without --attacks; it is for the report of the attacks"
        )
    findings = asyncio.run(check(settings, _samples(arguments.input)))
    table = Table("", "what", "found", box=None)
    for finding in findings:
        table.add_row("ok" if finding.good else "FAILED", finding.what, finding.said)
    Console(soft_wrap=True).print(table)
    return 0 if all(finding.good for finding in findings) else 1


async def check(settings: Settings, samples: Sequence[Sample]) -> list[CheckOutcome]:
    """Return the outcome for every profile and model that `settings` name, tried on `samples`."""
    try:
        profiles = load_profiles(settings.profile_dirs, plugins=settings.plugins)
        engine = create_engine(profiles, settings, Metrics())
        await engine.start()
    except ConfigError as error:
        return [CheckOutcome("loading", False, str(error))]
    try:
        models = [
            CheckOutcome(f"model {model.name}", model.ready, model.reason or _about(model.about))
            for model in engine.models.info()
        ]
        endpoints = [
            CheckOutcome(f"endpoint {name}", not scorer.about.get("unproven"), _about(scorer.about))
            for name, scorer in proven_first(profiles)
        ]
        found = [await _check_profile(engine, name, samples) for name in profiles]
        asked = [await _check_cascades(engine, name, samples) for name in profiles]
        return [*models, *endpoints, *found, *chain.from_iterable(asked)]
    finally:
        await engine.stop()


async def _check_profile(engine: Engine, name: str, samples: Sequence[Sample]) -> CheckOutcome:
    try:
        together = await _scored(engine, name, samples)
        if grouped := engine.profiles[name].info.groups is not None:
            otherwise = await _scored(engine, name, samples[::-1])
        else:
            otherwise = [(await _scored(engine, name, [each]))[0] for each in reversed(samples)]
    except RequestError as error:
        return CheckOutcome(f"profile {name}", False, str(error))
    failed = next((result for result in together if result.reward is None), None)
    if failed is not None:
        return CheckOutcome(f"profile {name}", False, f"sample {failed.id}: {failed.error}")
    drift = _largest_difference(together, otherwise[::-1])
    rewards = ", ".join(f"{result.reward:.4g}" for result in together)
    how = "the group in two orders differs" if grouped else "alone and together differ"
    said = f"rewards {rewards}; {how} by {drift:.2g}"
    languages = engine.profiles[name].info.languages
    said += "" if languages is None else f"; reads {', '.join(languages)}"
    return CheckOutcome(f"profile {name}", drift <= _tolerance(engine, name, together), said)


async def _scored(engine: Engine, name: str, samples: Sequence[Sample]) -> list[SampleResult]:
    request = ScoreRequest(list(samples), profile=name)
    return (await engine.score(request, gather=False)).results


async def _check_cascades(
    engine: Engine, name: str, samples: Sequence[Sample]
) -> list[CheckOutcome]:
    """Run every scorer that runs for some samples only on all of them: known samples seldom reach
    it. A scorer that cannot tell passes; one that fails does not."""
    profile = engine.profiles[name]
    found: list[CheckOutcome] = []
    for key in profile.cascades.when if profile.cascades else ():
        texts = as_texts(samples, engine.limits.max_response_bytes)
        request = ScoreRequest(texts, profile=name)
        scores = await engine.columns.fill(profile, key, request, engine.give_up_at_s(None))
        failed = next((one for one in scores if one.value is None and not one.undecided), None)
        said = ", ".join("?" if one.value is None else f"{one.value:.4g}" for one in scores)
        said = f"asked for every sample: {said}" if failed is None else str(failed.error)
        found.append(CheckOutcome(f"profile {name}, {key}", failed is None, said))
    return found


def _largest_difference(one: Sequence[SampleResult], other: Sequence[SampleResult]) -> float:
    return max(
        abs(a.reward - b.reward) if a.reward is not None and b.reward is not None else float("inf")
        for a, b in zip(one, other, strict=True)
    )


def _tolerance(engine: Engine, profile: str, results: Sequence[SampleResult]) -> float:
    models = [one.about for one in engine.models.info() if profile in one.profiles]
    half = any(about.get("dtype") in ("bfloat16", "float16") for about in models)
    size = max(1.0, *(abs(result.reward or 0.0) for result in results))
    usual = size * (HALF_PRECISION_TOLERANCE if half else TOLERANCE)
    return max([usual, *(about.get("parity_tolerance", 0.0) for about in models)])


def _about(about: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in about.items()
    )


def _samples(path: Path | None) -> list[Sample]:
    if path is None:
        return KNOWN_SAMPLES
    if not path.is_file():
        raise ConfigError(f"input {path} is not a file; give JSONL, one sample per line")
    samples = list(read_samples(path))
    if not samples:
        raise ConfigError(f"input {path} holds no samples")
    return samples


_ANSWER = "<think>Forty and six make {0}.</think>\n<answer>\\boxed{{{0}}}</answer>"
_STORY: dict[str, Any] = {
    "signals": {"logprob_gain": 0.1, "exp_neg_cre": 0.2, "history_tokens": 7},
    "metadata": {
        "story_content": "A keeper tends the light.",
        "conversation_history": [{"role": "user", "content": "Is the lamp lit?"}],
        "user_input": "I count the steps.",
    },
}
KNOWN_SAMPLES = [
    Sample(name, response, prompt=prompt, ground_truth="46", group_id="known", **_STORY)
    for name, response, prompt in [
        ("right", _ANSWER.format(46), "What is 40 + 6?"),
        ("wrong", _ANSWER.format(47), "What is 40 + 6?"),
        ("long", "So it goes on. " * 40, "Tell me a story."),
    ]
]
