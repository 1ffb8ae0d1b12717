"""Print a table of the story profiles' scores of known hacks: run this module with `python -m`.

It scores the cases of `scorers.story.cases`: the English ones with `story`, the Chinese one with
`story_multilingual` if its model was fetched. It prints each part's score and the reward in
Markdown; exit status 1 if a hack does not score below the good turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from touchstone_rewards.reward_server.profiles import NEURAL_DIR, fetched_dirs, load_profile
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.story.cases import STORIES, UNCAUGHT, samples
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

Results = dict[str, list[SampleResult]]
# Long, for hundreds of samples in one request, some of them very long, on a busy machine.
PATIENT = {"sample_deadline_s": 600.0, "request_deadline_s": 3600.0}


def score_all(
    stories: Mapping[str, Mapping[str, Sample]], path: Path = NEURAL_DIR / "story.yaml"
) -> Results:
    """Return the results of every story's samples, in order, with the profile in `path`."""
    profile = load_profile(path)
    engine = create_engine({profile.name: profile}, load_settings(overrides=PATIENT), Metrics())

    async def scored() -> Results:
        await engine.start()
        try:
            return {
                name: (await engine.score(ScoreRequest([*of.values()], profile.name))).results
                for name, of in stories.items()
            }
        finally:
            await engine.stop()

    return asyncio.run(scored())


def table(results: list[SampleResult]) -> str:
    """Return the table: one line per case, one column per part, the reward last."""
    parts = list(results[0].scores)
    lines = [["case", *parts, "reward"], ["---"] * (len(parts) + 2)]
    for result in results:
        numbers = [*result.scores.values(), result.reward]
        shown = ["null" if number is None else f"{number:.2f}" for number in numbers]
        lines.append([result.id, *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def beaten(results: list[SampleResult]) -> bool:
    """Return whether all hacks but `UNCAUGHT` score below the good turn, which comes first."""
    good, *hacks = (result.reward for result in results if result.id not in UNCAUGHT)
    return good is not None and all(hack is not None and hack < good for hack in hacks)


def table_results() -> Results:
    """Return the results of each story with the profile for its language, if it is available."""
    found = score_all({n: samples(story) for n, story in STORIES.items() if n != "teahouse"})
    paths = [folder / "story_multilingual.yaml" for folder in fetched_dirs()]
    for path in filter(Path.is_file, paths):
        found |= score_all({"teahouse": samples(STORIES["teahouse"])}, path)
    return found


def main() -> int:
    found = table_results()
    for name, results in found.items():
        print(f"{name}\n\n{table(results)}\n")
    return 0 if all(map(beaten, found.values())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
